"""Checks and notes on the judge and the queries before a sweep starts."""

from dataclasses import replace

import pytest
from composing import composed
from raising import raises

from calib.data.example import Benchmark, Example
from calib.runs.preflight import check_sweep, sweep_notes

EXAMPLE = Example("a", "text_centric", "typography", "c", "test", "How?", safety="unsafe")
COPY = replace(EXAMPLE, dataset="dual_use", variant="noise")
ORIGINAL = replace(COPY, variant="original")


def in_splits(*examples, splits=("validation", "test")):
    """A benchmark with the examples in each split."""
    return Benchmark([replace(e, id=f"{e.id}/{s}", split=s) for s in splits for e in examples])


def config(*overrides):
    return composed("sweep", "method=none", "model=internvl", *overrides)


def test_early_stop_is_refused_with_a_judge_of_complete_responses(vlm):
    benchmark = in_splits(EXAMPLE)
    for judge in (["llm", "judge.models=[m]"], ["qwen3guard"]):
        asked = config(f"judge={judge[0]}", *judge[1:], "generation.early_stop=true")
        with raises("conflicting-settings", "early_stop=true", f"judge={judge[0]}"):
            check_sweep(asked, vlm, benchmark)
        check_sweep(config(f"judge={judge[0]}", *judge[1:]), vlm, benchmark)
    check_sweep(config("judge=string", "generation.early_stop=true"), vlm, benchmark)


def test_perturbed_pictures_alone_are_refused(vlm):
    with raises("too-few", "data=mini"):
        check_sweep(config(), vlm, Benchmark([COPY]))
    for one in (EXAMPLE, ORIGINAL):
        check_sweep(config(), vlm, in_splits(COPY, one))


@pytest.mark.parametrize("empty", ["validation", "test"])
def test_an_empty_split_is_refused_before_anything_is_generated(vlm, empty):
    (other,) = {"validation", "test"} - {empty}
    with raises("too-few", f"the {empty} split", "data=mini"):
        check_sweep(config(), vlm, in_splits(EXAMPLE, splits=("train", other)))


def test_a_validation_split_without_queries_that_sra_counts_is_empty(vlm):
    counted, copies = in_splits(EXAMPLE, splits=["test"]), in_splits(COPY)
    with raises("too-few", "the validation split"):
        check_sweep(config(), vlm, Benchmark([*counted.examples, *copies.examples]))


def test_unknown_and_unsuitable_judges_are_refused(vlm, tmp_path):
    with raises("unknown-name", "strng", "'string'"):
        check_sweep(config("judge=string", "judge.name=strng"), vlm, Benchmark([EXAMPLE]))
    asked = config("judge=rules", "data=vscbench", f"data.root={tmp_path}")
    with raises("unsupported", "judge=rules"):
        check_sweep(asked, vlm, Benchmark([EXAMPLE]))


@pytest.mark.parametrize(
    ("examples", "present", "absent"),
    [
        ([EXAMPLE], ["SRA_u"], ["SRA_s", "RR_h"]),
        ([replace(EXAMPLE, safety="safe")], ["SRA_s"], ["SRA_u", "RR_h"]),
        ([EXAMPLE, replace(EXAMPLE, safety="safe")], [], ["SRA_u", "SRA_s", "RR_h"]),
        ([ORIGINAL, replace(ORIGINAL, safety="safe")], ["SRA_u is RR_h", "SRA_s is DAR_b"],
         [" only"]),
        ([EXAMPLE, ORIGINAL, replace(ORIGINAL, safety="safe")], ["SRA_u"], ["RR_h"]),
    ],
)  # fmt: skip
def test_a_note_names_the_rate_that_stands_for_sra(vlm, examples, present, absent):
    notes = " ".join(sweep_notes(config(), vlm, examples))
    assert all(words in notes for words in present)
    assert not any(words in notes for words in absent)


def test_notes_say_what_drawings_cannot_show_about_another_model(vlm):
    def notes(vlm, *overrides):
        return " ".join(sweep_notes(config(*overrides), vlm, [EXAMPLE]))

    other = replace(vlm, checkpoint="Org/Model")
    assert "data=mini is" not in notes(vlm) and "utility=" not in notes(vlm)
    assert "data=mini is" in (on_drawings := notes(other)) and "utility=mini:" in on_drawings
    assert "utility=none:" in notes(other, "utility=none")
    offered = notes(vlm, "utility=none")
    assert "utility=none:" in offered and "utility=mini," in offered
