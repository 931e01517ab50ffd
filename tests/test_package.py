"""The wheel and the sdist contain code, configuration and the weights of mini-internvl."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytest.importorskip("hatchling", reason="the test extra brings hatchling")


def files(folder: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return folder


def test_the_wheel_contains_code_conf_and_weights(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert files("calib") <= names
    assert {f"calib/{name}" for name in files("conf")} <= names
    folder = "calib/models/mini_internvl/"
    assert any(name.startswith(folder) and name.endswith(".safetensors") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "experiments/"))]


def test_the_sdist_contains_the_sources_of_the_wheel(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert files("calib") | files("conf") <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= names
    assert "experiments/mini_internvl/train.py" in names  # its tests are included
