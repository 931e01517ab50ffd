"""Provenance: versions and commit are recorded, the machine is not identified."""

import contextlib
import getpass
import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

import calib
from calib.runs import provenance as module
from calib.runs.manifest import claim_folder
from calib.runs.provenance import provenance, session_notes


def test_versions_are_recorded():
    noted = provenance()
    assert noted["calib"] == calib.__version__
    assert noted["python"] == platform.python_version()
    assert noted["packages"]["hydra-core"].startswith("1.")
    assert json.loads(json.dumps(noted)) == noted


def test_nothing_identifies_the_machine(monkeypatch):
    monkeypatch.setenv("CALIB_SECRET", "sesame-open")
    text = json.dumps(provenance())
    # Short names (a user "x", a host "linux") occur in any text.
    personal = ["sesame-open", str(Path.cwd()), platform.node()]
    for name in (Path.home, getpass.getuser):  # errors for a user without a name or a home
        with contextlib.suppress(RuntimeError, KeyError, OSError):
            personal.append(str(name()))
    assert not [word for word in personal if len(word) > 5 and word in text]


def repository(folder: Path) -> None:
    commands = (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e@e", "commit", "-q", "--allow-empty", "-m", "m"],
    )
    for command in commands:
        subprocess.run(["git", "-C", str(folder), *command], check=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)  # a user may sign commits
    folder = tmp_path / "checkout"
    (folder / "calib").mkdir(parents=True)
    (folder / "conf").mkdir()
    monkeypatch.setattr(module, "CHECKOUT", folder)
    return folder


def test_the_commit_belongs_to_the_checkout_and_not_to_the_current_folder(
    checkout, tmp_path, monkeypatch
):
    repository(checkout)
    other = tmp_path / "other"
    other.mkdir()
    repository(other)
    monkeypatch.chdir(other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as inside a git hook
    noted = provenance()
    head = (checkout / ".git" / "HEAD").read_text(encoding="utf-8").split()[-1]
    assert noted["commit"] == (checkout / ".git" / head).read_text(encoding="utf-8").strip()
    assert noted["changed"] is False
    (checkout / "calib" / "new.py").write_text("", encoding="utf-8")
    assert provenance()["changed"] is True


def test_installed_in_another_project_there_is_no_commit(checkout):
    repository(checkout.parent)
    assert provenance()["commit"] is None
    assert provenance()["changed"] is None


def test_without_git_there_is_no_commit(checkout, monkeypatch):
    repository(checkout)
    monkeypatch.setenv("PATH", "")
    assert provenance()["commit"] is None


PACKAGES = {"torch": "2.9.1", "transformers": "5.1.0"}


@pytest.fixture
def resumed(tmp_path):
    """Claim a folder that holds rows, in a session with these facts; the content of run.json."""

    def claim(device="cpu", torch="2.9.1", **facts):
        made = {"date": "2026-01-01", "calib": "1", "packages": {**PACKAGES, "torch": torch}}
        claim_folder(tmp_path, {"seed": 0}, made | facts, {"device": device})
        (tmp_path / "rows.jsonl").write_text("{}", encoding="utf-8")
        return json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))

    return claim


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"threads": 2}, "threads 1, then 2"),
        ({"torch": "2.10.0"}, "torch 2.9.1, then 2.10.0"),
        ({"calib": "2"}, "calib 1, then 2"),
        ({"commit": "b" * 40}, "commit aaaaaaaaaaaa, then bbbbbbbbbbbb"),
        ({"device": "cuda"}, "device cpu, then cuda"),
    ],
)
def test_a_session_under_other_conditions_is_recorded_once_and_noted(resumed, change, shown):
    first = {"threads": 1, "commit": "a" * 40}
    before = resumed(**first)
    assert resumed(**first) == before and not session_notes(before)
    after = resumed(**first | change)
    assert after["provenance"] == before["provenance"] and len(after["sessions"]) == 1
    assert shown in session_notes(after)[0]
    assert resumed(**first | change) == after == resumed(**first)


def test_what_an_earlier_version_did_not_record_is_no_change(resumed):
    assert resumed() == resumed(threads=4)


def test_a_folder_without_rows_has_no_earlier_session(resumed, tmp_path):
    resumed(threads=1)
    (tmp_path / "rows.jsonl").unlink()
    assert "sessions" not in resumed(threads=2)
