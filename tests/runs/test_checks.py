"""What is refused and noted about the judge and the queries, before a sweep does anything."""

from dataclasses import replace

import pytest
from composing import composed

from calib.data.example import Benchmark, Example
from calib.runs.preflight import check_sweep, sweep_notes
from calib.util.errors import CalibError

EXAMPLE = Example("a", "text_centric", "typography", "c", "test", "How?", safety="unsafe")
COPY = replace(EXAMPLE, dataset="dual_use", variant="noise")
ORIGINAL = replace(COPY, variant="original")


def config(*overrides):
    return composed("sweep", "method=none", "model=internvl", *overrides)


def test_a_judge_of_whole_responses_and_an_early_stop_do_not_go_together(vlm):
    benchmark = Benchmark([EXAMPLE])
    for judge in (["llm", "judge.models=[m]"], ["qwen3guard"]):
        asked = config(f"judge={judge[0]}", *judge[1:], "generation.early_stop=true")
        with pytest.raises(CalibError, match="judges whole responses only.*calib.judge run=FOLDER"):
            check_sweep(asked, vlm, benchmark)
        check_sweep(config(f"judge={judge[0]}", *judge[1:]), vlm, benchmark)
    check_sweep(config("judge=string", "generation.early_stop=true"), vlm, benchmark)


def test_perturbed_pictures_alone_are_nothing_to_choose_by(vlm):
    with pytest.raises(
        CalibError, match="no queries here that SRA counts.*or original among the v"
    ):
        check_sweep(config(), vlm, Benchmark([COPY]))
    for one in (EXAMPLE, ORIGINAL):
        check_sweep(config(), vlm, Benchmark([COPY, one]))


def test_judges_that_do_not_exist_or_do_not_fit(vlm, tmp_path):
    with pytest.raises(CalibError, match="strng is not known. Did you mean 'string'"):
        check_sweep(config("judge=string", "judge.name=strng"), vlm, Benchmark([EXAMPLE]))
    asked = config("judge=rules", "data=vscbench", f"data.root={tmp_path}")
    with pytest.raises(CalibError, match="judge=rules knows the mini world only"):
        check_sweep(asked, vlm, Benchmark([EXAMPLE]))


@pytest.mark.parametrize(
    ("examples", "said", "unsaid"),
    [
        ([EXAMPLE], ["has unsafe queries only: SRA_u stands for SRA"], ["dual-use"]),
        ([replace(EXAMPLE, safety="safe")], ["has safe queries only: SRA_s stands"], ["dual-use"]),
        ([EXAMPLE, replace(EXAMPLE, safety="safe")], [], ["stands for SRA", "dual-use"]),
        ([ORIGINAL, replace(ORIGINAL, safety="safe")], ["SRA_u is RR_h and SRA_s is DAR_b"],
         ["stands for SRA"]),
        ([EXAMPLE, ORIGINAL, replace(ORIGINAL, safety="safe")], ["unsafe queries only"],
         ["dual-use"]),
    ],
)  # fmt: skip
def test_what_sra_stands_for_is_said(vlm, examples, said, unsaid):
    notes = " ".join(sweep_notes(config(), vlm, examples))
    assert all(words in notes for words in said)
    assert not any(words in notes for words in unsaid)
