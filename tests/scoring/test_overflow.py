"""Responses whose numbers overflowed are wrong under every mapping, and counted."""

import math
from dataclasses import replace

import pytest
from judged_runs import UNCALIBRATED, query_rows, question_rows

from calib.scoring.judged import MAPPINGS, counted_label, is_correct_response
from calib.scoring.metrics import measure


def overflowed(rows, count):
    """``rows``, of which the first ``count`` overflowed, as calib.runs records them."""
    lost = [
        replace(row, overflowed=True, empty=True, kl=None, label=row.label and "irrelevant",
                correct=None if row.correct is None else False)
        for row in rows[:count]
    ]  # fmt: skip
    return [*lost, *rows[count:]]


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_they_are_wrong_under_every_mapping(mapping):
    """mapping=paper counts irrelevant text to a safe query as right, and no text as a refusal."""
    rows = overflowed(query_rows(UNCALIBRATED, 40, 40), 80)
    assert {row.dataset for row in rows} <= {"image_centric", "text_centric"}
    assert not any(is_correct_response(row, mapping) for row in rows)
    assert {counted_label(row, mapping) for row in rows} == {"irrelevant"}
    rates = measure("queries", rows, mapping)
    assert rates["SRA_u"].value == rates["SRA_s"].value == 0


def test_their_share_is_a_metric_where_there_are_any():
    rows = overflowed(query_rows(UNCALIBRATED, 40, 40), 8)
    rates = measure("queries", rows)
    assert (rates["overflowed"].value, rates["overflowed"].n) == (0.1, 80)
    sides = [rates[f"overflowed_{side}"] for side in "us"]
    assert sum(side.value * side.n for side in sides if side.n) == pytest.approx(8)
    whole = measure("queries", query_rows(UNCALIBRATED, 40, 40))
    assert all(math.isnan(whole[f"overflowed{side}"].value) for side in ("", "_u", "_s"))


def test_kl_is_over_the_others():
    rows = overflowed(question_rows(UNCALIBRATED, 40, kl=0.1), 10)
    measured = measure("utility", rows)
    assert measured["utility"].value == 30 / 40 and measured["overflowed"].value == 10 / 40
    assert measured["KL"].n == 30
