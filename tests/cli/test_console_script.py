"""The console script: ``calib NAME`` is ``python -m calib.NAME``, with a list of the commands."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from calib.config.schemas import ENTRY_POINTS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "import sys; sys.argv[0] = 'calib'; from calib.__main__ import main; main()"


def calib(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("-c", SCRIPT, *arguments, **environment)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=180,
    )


def test_the_script_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"calib": "calib.__main__:main"}


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_list_of_commands(arguments):
    result = calib(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    entries = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line[:2] == "  "]
    assert entries == [[name, schema.__doc__] for name, schema in ENTRY_POINTS.items()]
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_an_unknown_command():
    result = calib("sweap")
    assert (result.returncode, result.stdout) == (2, "")
    assert "[unknown-name]" in result.stderr
    assert "'sweap'" in result.stderr and "'sweep'" in result.stderr


def test_a_command_is_the_module_of_that_name():
    arguments = ["method=none", "seed=3", "--cfg", "job"]
    by_module = python("-m", "calib.sweep", *arguments)
    assert by_module.returncode == 0, by_module.stderr
    assert calib("sweep", *arguments).stdout == by_module.stdout
    assert python("-m", "calib", "sweep", *arguments).stdout == by_module.stdout


def test_every_command_has_its_help():
    for name in ("sweep", "import", "report"):  # a module, a keyword, a package
        result = calib(name, "--help")
        assert result.returncode == 0, result.stderr
        assert f"python -m calib.{name}" in result.stdout


def test_an_error_of_a_command_is_its_exit_code():
    result = calib("plot")
    assert result.returncode == 2
    assert result.stderr.startswith("calib.plot: [missing-setting] ")


@pytest.mark.parametrize("former", [["-c", SCRIPT, "adopt"], ["-m", "calib.adopt"]])
def test_the_former_name_of_import_works_and_says_so(former):
    result = python(*former, "--help")
    assert result.returncode == 0 and "python -m calib.import" in result.stdout
    note, *more = result.stderr.splitlines()
    assert "adopt" in note and "import" in note and not more


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("calib sw", ["sweep"]),
        ("calib ", list(ENTRY_POINTS)),
        ("calib sweep method=st", ["method=steer", "method=steer_pca"]),
        ("calib sweep method=steer judge=str", ["judge=string"]),
        ("calib extract est", ["estimator="]),
    ],
)
def test_completion(line, expected):
    result = calib("-sc", "query=bash", COMP_LINE=line)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == expected


def test_completion_is_installed_for_the_script():
    assert calib("-sc", "install=bash").stdout.rstrip().endswith(" calib")
