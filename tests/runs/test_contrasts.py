"""The two sides of a contrast."""

import pytest

from calib.data.mini.examples import load
from calib.engine.decoding import Decoding
from calib.engine.generate import Engine
from calib.errors import CalibError
from calib.runs.answering import plan_rows
from calib.runs.contrasts import fit_contrast, paired_examples, refusal_contrast, safety_contrast
from calib.runs.record import Rows


@pytest.fixture(scope="module")
def examples():
    return load(["image_centric", "text_centric", "dual_use"], limit=20)


def test_twins_of_one_split_without_the_dual_use_part(examples):
    twins = paired_examples(examples, "train")
    assert {e.split for e in twins} == {"train"}
    assert {e.dataset for e in twins} == {"image_centric", "text_centric"}
    unsafe, safe = safety_contrast(twins)
    assert [e.pair for e in unsafe] == [e.pair for e in safe]
    assert {e.safety for e in unsafe} == {"unsafe"}
    assert {e.safety for e in safe} == {"safe"}


def test_dual_use_alone_is_used(examples):
    alone = [e for e in examples if e.dataset == "dual_use"]
    assert {e.dataset for e in paired_examples(alone, "train")} == {"dual_use"}


def test_refusal_sides_are_what_the_model_does(vlm, examples, tmp_path):
    """Their labels are read back from the record, not from the examples' safety."""
    twins = paired_examples(examples, "train")
    engine = Engine(vlm, Decoding(max_new_tokens=24))
    with Rows.open(tmp_path / "rows.jsonl") as record:
        refused, answered = refusal_contrast(engine, twins, record, "rules")
        from calib.methods.setting import BASELINE

        rows = plan_rows(engine, twins, [BASELINE])
        said = {row.example.id: record.finished[row.id]["response"] for row in rows}
    assert refused
    assert answered
    for example in refused:
        assert said[example.id].startswith(("I'm sorry", "I cannot", "Be careful")) or said[
            example.id
        ].endswith("dangerous.")
    for example in answered:
        assert not said[example.id].startswith(("I'm sorry", "I cannot", "Be careful"))


def test_no_pairs_is_an_error(vlm, tmp_path):
    with (
        Rows.open(tmp_path / "rows.jsonl") as record,
        pytest.raises(CalibError, match="no safe/unsafe pairs in the train split"),
    ):
        fit_contrast(
            Engine(vlm, Decoding()), [], record, "rules", contrast="safety",
            estimator="mean_difference", positions="last_prompt", layers="all", batch_rows=8,
        )  # fmt: skip
