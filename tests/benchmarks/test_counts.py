"""The engine computes no more than it must: the floors of the exact counts, on small cases."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import default_case
from benchmarks.counts import measure

ROOT = Path(__file__).parents[2]


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


def test_a_benchmark_without_its_means_says_so_and_succeeds():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "CUDA" in done.stdout
