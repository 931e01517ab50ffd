"""Votes of several models: a strict majority of the readable votes, if enough are readable."""

import pytest

from calib.judges.llm import majority


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        (["answer"], "answer"),
        ([None], None),
        (["answer", "answer"], "answer"),
        (["answer", "refusal"], None),
        (["answer", None], None),
        (["refusal", "answer", "answer"], "answer"),
        (["refusal", "answer", "irrelevant"], None),
        ([None, "answer", "answer"], "answer"),
        ([None, "answer", "refusal"], None),
        ([None, None, "answer"], None),
        (["answer", "answer", "refusal", "refusal"], None),
        (["answer", "answer", "refusal", "irrelevant"], None),
        (["answer", "answer", "refusal", None], "answer"),
        (["answer", "answer", "answer", "refusal", "refusal"], "answer"),
        (["answer", "answer", "refusal", "irrelevant", None], None),
    ],
)
def test_majority(votes, label):
    assert majority(votes) == label
