"""Every hostile input ends in an error that fits a terminal, and runs, writes and sends nothing."""

import os
import pickle
import re
import subprocess
import time
from pathlib import Path

import pytest
from damaged_pictures import damaged_pictures
from damaged_tables import damaged_tables
from hostile import Hostile, Place, outcome, watched
from hostile_checkpoints import checkpoints
from hostile_classifiers import classifiers
from hostile_files import files
from hostile_replies import replies
from hostile_requests import lines, requests
from hostile_runs import runs
from hostile_vectors import vectors
from raising import raises

FAMILIES = (files, vectors, checkpoints, classifiers, runs, replies, requests, lines)
INPUTS = [hostile for family in FAMILIES for hostile in family()]


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr("calib.models.template_bounds.SECONDS", 0.2)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up-0123456789")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hostile", INPUTS, ids=str)
def test_a_hostile_input_ends_in_an_error(hostile: Hostile, place: Place) -> None:
    outcome(hostile, place)


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    names = [hostile.what for hostile in INPUTS]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    count = len(INPUTS) + len(damaged_tables()) + len(damaged_pictures())
    print(f"{count} hostile inputs")
    assert count >= 300


def test_what_must_not_happen_is_noticed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with watched(inside) as seen:
        (inside / "a").write_bytes(b"")
        assert not seen
        (outside).write_bytes(b"")
        (inside / "link" / "b").write_bytes(b"")
        outside.rename(tmp_path / "c")
        subprocess.run(["true"], check=True)
        pickle.loads(pickle.dumps(os.getcwd))
    kinds = [text.partition(" ")[0] for text in seen]
    assert kinds[:3] == ["open", "open", "os.rename"]
    assert {"subprocess.Popen", "pickle.find_class"} <= set(kinds)


@pytest.mark.parametrize("end", ["accepted", "a bug"])
def test_another_end_fails(end: str, place: Place) -> None:
    def call() -> None:
        if end == "a bug":
            raise KeyError(end)

    with pytest.raises((AssertionError, KeyError)):
        outcome(Hostile(end, lambda place: call, code="too-few"), place)


def search_without_end() -> None:
    re.search("(a|aa)+$", "a" * 99 + "b")


def wait() -> None:
    time.sleep(600)


@pytest.mark.parametrize(("limit", "call"), [("PATIENCE", search_without_end), ("WAIT", wait)])
def test_an_input_that_hangs_fails(limit, call, place: Place, monkeypatch) -> None:
    monkeypatch.setattr(f"hostile.{limit}", 0.05)
    with pytest.raises(AssertionError, match="hangs"):
        outcome(Hostile("an input", lambda place: call), place)


def test_a_long_message_is_cut_in_its_middle() -> None:
    from calib.util.errors import MAX_MESSAGE, CalibError

    with raises("unreadable", "begin", "end") as caught:
        raise CalibError("unreadable", "begin" + "x" * 10**6 + "end")
    assert len(str(caught.value)) <= MAX_MESSAGE + 5
