"""CONTRIBUTING's method is added to a copy of calib and swept, as its reader would do it."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_method_of_the_page_runs(tmp_path):
    page = (ROOT / "CONTRIBUTING.md").read_text()
    files = dict(
        re.findall(r"`((?:calib|conf)/[\w/]+/centre\.\w+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    )
    assert set(files) == {"calib/methods/centre.py", "conf/method/centre.yaml"}
    code = [line for line in files["calib/methods/centre.py"].splitlines() if line.strip()]
    assert len(code) < 30, "the page promises a short file"
    for folder in ("calib", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [
            sys.executable, "-m", "calib.sweep", "method=centre", "method.layers=[3]",
            "data.limit=8", "utility.limit=6", "generation.max_new_tokens=12", "out=run",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "results.csv").open() as file:
        swept = {(row["method"], row["layer"], row["strength"]) for row in csv.DictReader(file)}
    assert swept == {("none", "", "0.0"), ("centre", "3", "0.5"), ("centre", "3", "1.0")}
