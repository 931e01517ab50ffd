"""The wheel and the sdist contain code, configuration and the weights of mini-internvl."""

import os
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
    assert "calib/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "experiments/"))]


def test_the_sdist_contains_the_sources_of_the_wheel(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert files("calib") | files("conf") <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= names
    assert "experiments/mini_internvl/train.py" in names  # its tests are included
    assert {".ci/run", ".github/workflows/tests.yml", "Dockerfile", "mkdocs.yml"} <= names


def test_the_descriptions_of_the_wheel_and_the_sdist_can_be_shown_by_an_index(built):
    twine = pytest.importorskip("twine.commands.check", reason="the test extra brings twine")
    assert not twine.check([str(path) for path in built.iterdir()], strict=True)


def test_the_wheel_has_what_a_model_needs_to_answer(built, tmp_path):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    code = "import calib; print(calib.__file__, calib.load('internvl').generate('What is this?'))"
    shown = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        encoding="utf-8",
    )
    file, response = shown.split(maxsplit=1)
    assert Path(file).is_relative_to(tmp_path) and response.strip()
