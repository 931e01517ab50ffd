"""Accuracy+ by hand."""

import math

from calib.scoring.judged import Judged
from calib.scoring.metrics.questions import accuracy_plus


def row(example_id: str, pair: str | None, correct: bool | None) -> Judged:
    return Judged(
        example_id=example_id,
        pair=pair,
        dataset="utility",
        variant="count",
        category="perception",
        split="test",
        safety=None,
        method="none",
        layer=None,
        strength=0.0,
        label=None,
        correct=correct,
        kl=None,
    )


def test_a_picture_counts_if_all_its_questions_are_right():
    rows = [
        row("1", "p", True),
        row("2", "p", True),
        row("3", "q", True),
        row("4", "q", False),
        row("5", "r", False),
        row("6", "r", False),
        row("7", "s", True),
        row("8", "s", True),
    ]
    value, low, high, n, clusters = accuracy_plus(rows)
    assert (value, n, clusters) == (0.5, 4, 4)
    # Wilson 1927 for 2 of 4: (0.5 +- 1.96 sqrt(0.25 / 4 + 1.96^2 / 64) ...) / (1 + 1.96^2 / 4)
    assert math.isclose(low, 0.15004, abs_tol=1e-4)
    assert math.isclose(high, 0.84996, abs_tol=1e-4)
    assert accuracy_plus(rows[::-1]) == (value, low, high, n, clusters)


def test_a_picture_with_an_unjudged_question_does_not_count():
    rows = [row("1", "p", True), row("2", "p", None), row("3", "q", True), row("4", "q", True)]
    assert accuracy_plus(rows)[0] == 1.0
    assert accuracy_plus(rows).n == 1
    assert accuracy_plus(list(reversed(rows))).n == 1


def test_a_question_without_a_pair_is_its_own_picture():
    assert accuracy_plus([row("1", None, True), row("2", None, False)])[:1] == (0.5,)


def test_without_questions_accuracy_plus_is_nan():
    assert math.isnan(accuracy_plus([]).value) and accuracy_plus([]).n == 0
