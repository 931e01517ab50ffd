"""The fuzz run: properties take turns, and a failing one is written with what repeats it."""

import os
import re
import shlex
import subprocess
import sys

from benchmarks import fuzz

PROPERTIES = """
from hypothesis import given, strategies as st

@given(st.integers())
def test_right(number):
    assert number == number

@given(st.integers(0, 10**6))
def test_wrong(number):
    assert number < 1000

def test_without_examples():
    raise AssertionError("not a property")
"""
CONFTEST = """
from hypothesis import settings
settings.register_profile("fuzz", database=None, deadline=None, max_examples=50)
"""
RUN = """
import sys
from pathlib import Path
from benchmarks import fuzz, report
fuzz.CHECKOUT = fuzz.PROPERTIES = Path.cwd()
report.RESULTS = Path("results")
fuzz.main("minutes=0.02", "seed=3", *sys.argv[1:])
"""


def test_a_failing_property_is_written_with_a_command_that_repeats_it(tmp_path):
    (tmp_path / "test_one.py").write_text(PROPERTIES, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def run(command):
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
            env={**os.environ, "PYTHONPATH": str(fuzz.CHECKOUT)},
        )  # fmt: skip

    done = run([sys.executable, "-c", RUN])
    assert done.returncode == 1, done.stderr
    counts = dict(re.findall(r"(\w+)=(\d+)", done.stdout.splitlines()[-1]))
    assert counts["properties"] == "2" and counts["failures"] == "1"
    assert int(counts["examples"]) > int(counts["turns"]) >= 2
    written = sorted((tmp_path / "fuzz_failures").iterdir())
    assert written and all("test_wrong" in file.name for file in written)
    command = shlex.split(written[0].read_text(encoding="utf-8").splitlines()[0])
    again = run([sys.executable, *command[1:]])
    assert again.returncode == 1 and "assert 1000 < 1000" in again.stdout
    assert (tmp_path / "results" / "fuzz.csv").read_text(encoding="utf-8").count("\n") == 2
