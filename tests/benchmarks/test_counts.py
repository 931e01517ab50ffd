"""The engine computes no more than it must: the floors of the exact counts, on small cases."""

import dataclasses
import runpy

import pytest

from benchmarks.cases import default_case
from benchmarks.counts import measure


@pytest.mark.parametrize("positions", ["last_prompt", "all"])
def test_the_default_grid_is_computed_once(positions):
    case = default_case(positions)
    # Long and short prompts, with and without pictures, and every layer at three strengths.
    few = dataclasses.replace(case, examples=case.examples[::5], settings=case.settings[::3])
    found = measure(few)
    assert found["identical"]
    assert found["tally agrees"]
    assert found["vision"] == found["decode"] == 1
    assert found["prefill"] <= 1.02


def test_a_benchmark_without_its_means_says_so_and_succeeds(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu"])
    runpy.run_module("benchmarks.gpu", run_name="__main__")  # an exit code of 1 would be raised
    assert "CUDA" in capsys.readouterr().out
