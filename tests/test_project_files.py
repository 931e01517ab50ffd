"""Workflows, hooks and the image run what the Makefile runs, with as few rights as possible."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from composing import composed
from raising import raises
from release_files import problems

from calib import __version__, serve

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_uses_fixed_actions_and_commands_of_the_project(path):
    workflow = read(path)
    targets = set(re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)[1].split())
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
        else:
            program, *words = step["run"].split()
            assert program == ".ci/run" or (program, words[0] in targets) == ("make", True), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_only_jobs_that_publish_may_write_and_they_run_no_code_of_the_project(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert ("permissions" in job) == (name == "publish")
        if name == "publish":
            assert "environment" in job and not [step for step in job["steps"] if "run" in step]
        for step in job.get("steps", []):
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_the_tests_run_on_every_python_that_the_package_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r":: (3\.\d+)$", "\n".join(project["classifiers"]), re.MULTILINE)
    job = read(".github/workflows/tests.yml")["jobs"]["tests"]
    assert job["strategy"]["matrix"]["python"] == named
    assert job["steps"][-1]["run"] == ".ci/run"


def test_pre_commit_runs_what_make_check_runs():
    recipe = re.search(r"^check: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    (source,) = read(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"] for hook in source["hooks"]]
    assert entries == [line.strip() for line in recipe.splitlines()]


def test_issue_forms_have_what_they_need():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = read(path)
        if path.name != "config.yml":
            assert form["name"] and form["description"]
            ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
            assert ids and len(set(ids)) == len(ids)


def test_a_release_needs_files_a_tag_and_a_section_of_its_version():
    names = {f"calib-{__version__}-py3-none-any.whl", f"calib-{__version__}.tar.gz"}
    assert problems(names, __version__, f"v{__version__}") == []
    assert len(problems(names | {"calib-0.0.9.tar.gz"}, __version__, None)) == 1
    assert len(problems(set(), __version__, "v9.9.9")) == 3
    assert len(problems({"calib-9.9.9-py3-none-any.whl", "calib-9.9.9.tar.gz"}, "9.9.9", None)) == 1


# Setting up


@needs_make
@pytest.mark.parametrize("index", ["", "https://index.example/cpu"])
def test_the_set_up_says_how_to_take_torch_for_a_cpu(tmp_path, index):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >>pip.txt\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / ".venv/created").touch()
    # Without nvidia-smi, and on Linux whatever this machine is.
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "touch", "make"):
        (programs / name).symlink_to(shutil.which(name))
    (programs / "uname").write_text("#!/bin/sh\necho Linux\n", encoding="utf-8")
    (programs / "uname").chmod(0o755)
    done = subprocess.run(
        ["make", "SHELL=/bin/sh", ".venv/installed", *([f"TORCH_INDEX={index}"] if index else [])],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=True,
        env={"PATH": str(programs)},
    )  # fmt: skip
    assert ("TORCH_INDEX=" in done.stdout) == (not index)
    torch, calib = (tmp_path / "pip.txt").read_text(encoding="utf-8").splitlines()
    assert torch.endswith(f"--index-url {index} torch" if index else "constraints.txt torch")
    assert "--index-url" not in calib and calib.endswith("-e .")


# The image of calib.serve


def last_stage(instruction):
    """The arguments of an instruction in the last stage of the Dockerfile."""
    stage = re.sub(r"\\\n\s*", "", DOCKERFILE).rpartition("\nFROM ")[2]
    return re.findall(rf"^{instruction} (.*)$", stage, re.MULTILINE)


def test_the_image_serves_with_a_key_only_and_not_as_root(monkeypatch):
    entry, command = (yaml.safe_load(last_stage(name)[-1]) for name in ("ENTRYPOINT", "CMD"))
    assert entry[:3] == ["python", "-m", "calib.serve"] and last_stage("USER")[-1] != "root"
    config = composed("serve", *entry[3:], *command)
    monkeypatch.delenv(config.key_env, raising=False)
    with raises("missing-setting", config.key_env):
        serve.main(config)


@pytest.fixture(scope="module")
def image():
    """The image, where Docker works and reaches the registries."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no Docker daemon answers")
    if subprocess.run([docker, "pull", "python:3.11-slim"], capture_output=True).returncode:
        pytest.skip("Docker cannot fetch python:3.11-slim")
    subprocess.run([docker, "build", "-q", "-t", "calib:test", "."], cwd=ROOT, check=True)
    return [docker, "run", "--rm"]


def test_the_image_is_built_and_needs_a_key(image):
    run = subprocess.run([*image, "calib:test"], capture_output=True, encoding="utf-8")
    assert run.returncode == 2 and "[missing-setting]" in run.stderr
    user = [*image, "--entrypoint", "id", "calib:test", "-u"]
    assert subprocess.check_output(user).strip() == b"10001"
