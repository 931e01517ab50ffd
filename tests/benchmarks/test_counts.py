"""The engine computes little more than the minimum: exact counts on small cases."""

import dataclasses
import runpy

import pytest

from benchmarks.cases import default_case
from benchmarks.counts import measure


@pytest.mark.parametrize("positions", ["last_prompt", "all"])
def test_the_engine_does_the_minimum_work(positions):
    case = default_case(positions)
    # Long and short prompts, with and without images, and every layer at three strengths.
    few = dataclasses.replace(case, examples=case.examples[::5], settings=case.settings[::3])
    counts = measure(few)
    assert counts["identical"]
    assert counts["stats agree"]
    assert counts["vision"] == counts["decode"] == 1
    assert counts["prefill"] <= 1.02


def test_the_gpu_benchmark_succeeds_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu"])
    runpy.run_module("benchmarks.gpu", run_name="__main__")  # an exit code of 1 would be raised
    assert "CUDA" in capsys.readouterr().out
