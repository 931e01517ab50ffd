"""vLLM generates the tokens of the engine on transformers, for every edit and in mixed batches."""

from collections import Counter

import pytest
from logit_ties import TIE, first_difference, gap

from calib.engine.request import Request


@pytest.fixture(scope="module")
def answers(world):
    """All rows of a family as (example, edits, response on transformers, response of vLLM)."""
    rows = world.rows
    requests = [Request(example, edits) for example, edits in rows]
    ours, theirs = (engine.answer(requests) for engine in world.engines())
    return [(*row, *pair) for row, *pair in zip(rows, ours, theirs, strict=True)]


def test_tokens_are_equal_unless_two_tokens_are_equally_likely(world, answers):
    differing = [row for row in answers if row[2].tokens != row[3].tokens]
    for example, edits, ours, theirs in differing:
        size = gap(world.vlm, example, edits, ours.tokens, theirs.tokens)
        k = first_difference(ours.tokens, theirs.tokens)
        print(f"{example.id}, {[edit.identity[:40] for edit in edits]}: token {k}, gap {size:.1e}")
        assert size < TIE
    assert len(differing) <= 0.02 * len(answers)


def test_texts_and_reasons_for_the_end_are_equal(answers):
    same = [row for row in answers if row[2].tokens == row[3].tokens]
    for _, _, ours, theirs in same:
        assert (theirs.text, theirs.finish) == (ours.text, ours.finish)
    assert len({response.finish for *_, response in same}) == 2


def test_every_operator_changes_responses(answers):
    """Otherwise equal tokens would say nothing about the edits."""
    plain = {example.id: theirs.tokens for example, edits, _, theirs in answers if not edits}
    rows = [(edits[0].operator.name, row) for row in answers for edits in [row[1]] if edits]
    changed = Counter(name for name, row in rows if row[3].tokens != plain[row[0].id])
    measured = Counter(name for name, row in rows if row[3].kl > 1e-4)
    assert set(changed) == set(measured) == {name for name, _ in rows} and len(changed) == 8
    assert changed.total() > len(rows) / 4 and measured.total() > len(rows) / 2


def test_kl_is_equal(answers):
    for _, edits, ours, theirs in answers:
        assert theirs.kl == pytest.approx(ours.kl, rel=1e-3, abs=1e-5)
        assert theirs.kl_base == pytest.approx(ours.kl_base, rel=1e-3, abs=1e-5)
        assert edits or ours.kl == 0
