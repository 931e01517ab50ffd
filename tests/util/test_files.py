"""Files are written atomically, JSON lines are checked, and CSV cells run in no spreadsheet."""

import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from raising import raises

import calib
from calib.util.files import (
    csv_safe,
    from_csv_safe,
    home_expanded,
    read_lines,
    unfinished_path,
    without_control_characters,
    write_atomically,
)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("'=1+1", "''=1+1"),
        ("''@a", "'" + "''@a"),
        ("\ttab", "'\ttab"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("-", "'-"),
        ("'tis", "'tis"),
        ("a=b", "a=b"),
        ("＝1+1", "'＝1+1"),  # noqa: RUF001
        ("'－1", "''－1"),  # noqa: RUF001
        ("＋1", "'＋1"),  # noqa: RUF001
        ("＠SUM(1)", "'＠SUM(1)"),  # noqa: RUF001
        ("﹦1", "'﹦1"),
        ("−1", "'−1"),  # noqa: RUF001
        ("'", "'"),
        ("", ""),
    ],
)
def test_a_cell_is_safe_for_spreadsheets_and_keeps_its_text(text, cell) -> None:
    assert csv_safe(text) == cell
    assert from_csv_safe(cell) == text


def test_control_characters_are_written_as_escapes() -> None:
    text = "\x1b[2J\x07 \x9b1m \0 naïve\ttab\r\n"
    shown = "\\x1b[2J\\x07 \\x9b1m \\x00 naïve\ttab\r\n"
    assert without_control_characters(text) == shown


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with raises("no-space", path, "out="):
        write_atomically(path, b"new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with raises("unwritable", tmp_path / "file" / "inside"):
        write_atomically(tmp_path / "file" / "inside", "x")


def test_lines_are_read_with_the_separators_that_json_leaves(tmp_path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": "x\u2028y", "b": 1}\n\n{"a": "", "b": 2.5}\n', encoding="utf-8")
    assert read_lines(path, {"a": str, "b": int | float}) == [
        {"a": "x\u2028y", "b": 1},
        {"a": "", "b": 2.5},
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("[1]", [1]),
        ("{", []),
        ('{"a": "x"}\n{}', ["line 2", "a"]),
        ('{"a": 1}', ["line 1", 1, "a"]),
        ('{"a": "x", "b": true}', ["True", "b"]),
        ("[" * 100_000, []),
    ],
)
def test_damaged_lines_are_refused(tmp_path, text, values) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(text, encoding="utf-8")
    types = {"a": str} | ({"b": int} if "true" in text else {})
    with raises("unreadable", path, *values):
        read_lines(path, types)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with raises("unreadable", tmp_path / "none"):
        read_lines(tmp_path / "none", {})


def test_the_home_folder_is_expanded_and_an_unknown_user_is_left_alone(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert home_expanded("~/a") == Path("/home/me/a")
    assert home_expanded("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")


def test_every_module_expands_the_home_folder_by_the_same_function() -> None:
    # pathlib's own expanduser ends in a RuntimeError for an unknown user.
    modules = Path(calib.__file__).parent.rglob("*.py")
    texts = {path: path.read_text(encoding="utf-8") for path in modules}
    assert not [path for path, text in texts.items() if ").expanduser()" in text]


def test_what_killed_processes_left_of_a_file_is_removed_when_it_is_written(tmp_path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = re.sub("[^A-Za-z0-9-]", "-", socket.gethostname())[:32]
    left = [tmp_path / f".file.{gone.pid}.tmp", tmp_path / f".file.{gone.pid}@{host}.tmp"]
    folder = tmp_path / f".folder.{gone.pid}.tmp"
    kept = [
        tmp_path / f".file.{os.getppid()}.tmp",  # of a running process
        tmp_path / f".file.other.{gone.pid}.tmp",  # of another file
        tmp_path / f"file.{gone.pid}.tmp",
        tmp_path / f".file.{gone.pid}@another-{host}.tmp",  # of another host on a shared disk
    ]
    for path in (*left, *kept):
        path.write_text("half", encoding="utf-8")
    folder.mkdir()
    (folder / "weights").write_text("half", encoding="utf-8")
    write_atomically(tmp_path / "file", "whole")
    assert unfinished_path(tmp_path / "folder").name == f".folder.{os.getpid()}@{host}.tmp"
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "file", *kept])
