"""What is built holds everything a user needs: code, configuration and mini-internvl's weights."""

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


def test_the_wheel_holds_code_conf_and_weights(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        inside = set(wheel.namelist())
    assert files("calib") <= inside
    assert {f"calib/{name}" for name in files("conf")} <= inside
    assert any(
        n.startswith("calib/models/mini_internvl/") and n.endswith(".safetensors") for n in inside
    )
    assert not [name for name in inside if name.startswith(("tests/", "experiments/"))]


def test_the_sdist_holds_what_the_wheel_is_built_from(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    assert files("calib") | files("conf") <= inside
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= inside
    assert "experiments/mini_internvl/train.py" in inside  # its tests come along
