"""The row store: no finished row is lost, and no incomplete row is read."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from raising import raises

from calib.runs import row_store as record
from calib.runs.row_store import RowStore, locked, read_rows
from calib.util.checked_lines import checked_line
from calib.util.errors import CalibError
from calib.util.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]


def row(name: str, response: object = "", **facts: object) -> dict[str, object]:
    return {"row": name, "response": response, **facts}


def line(name: str) -> bytes:
    return checked_line(row(name))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "rows.jsonl"


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def test_rows_are_read_back_unchanged(path):
    texts = ["plain", "två\nlines", "\u2028 \x85 \x00", "half a pair: \ud800", '"quotes" \\']
    with RowStore.open(path) as rows:
        assert rows.finished == {}
        rows.append([row(str(k), response=text) for k, text in enumerate(texts)])
        rows.append([])
        rows.append([row("last", score=0.1)])
        written = dict(rows.finished)
    with RowStore.open(path) as rows:
        assert rows.finished == written
        assert [rows.finished[str(k)]["response"] for k in range(len(texts))] == texts
    assert path.read_bytes().count(b"\n") == 6


@pytest.mark.parametrize("tail", [b'{"row": "c", "respo', b'{"row": "c"}', b"\0\0\0\0\n", b"{}\n"])
def test_an_incomplete_last_line_is_removed_and_can_be_written_again(path, tail):
    with RowStore.open(path) as rows:
        rows.append([row("a"), row("b")])
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    with RowStore.open(path) as rows:
        assert list(rows.finished) == ["a", "b"]
        assert path.read_bytes() == whole
        rows.append([row("c")])
    with RowStore.open(path) as rows:
        assert list(rows.finished) == ["a", "b", "c"]


@pytest.mark.parametrize("damage", [b"not json\n", b"[1, 2]\n", b'{"no": "row"}\n', b"\xff\xfe\n"])
def test_damage_before_the_last_line_is_an_error_with_file_and_line(path, damage):
    path.parent.mkdir()
    before = line("a") + damage + line("c")
    path.write_bytes(before)
    with raises("invalid-content", "rows.jsonl, line 2", "out=FOLDER"):
        RowStore.open(path)
    assert path.read_bytes() == before


def test_a_flipped_bit_is_found_wherever_it_is(path):
    with RowStore.open(path) as rows:
        rows.append([row("a", "Ja, två.", kl=0.5), row("b", "No.", kl_base=None)])
    whole = path.read_bytes()
    first = whole.index(b"\n")
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        if bit < 8 * first:
            with raises("invalid-content", "rows.jsonl, line 1", "Delete"):
                RowStore.open(path)
            assert path.read_bytes() == damaged
        else:  # as after a crash of the machine, the last row is made again
            try:
                rows = RowStore.open(path)
            except CalibError as error:  # the bit made a line break
                assert "line 2" in str(error)
                continue
            with rows:
                # Without its line break, the first line joins the second.
                kept = [] if bit // 8 == first else ["a"]
                assert list(rows.finished) == kept


def test_rows_of_earlier_versions_have_no_checksum(path):
    path.parent.mkdir()
    before = b'{"row": "a", "response": "x", "model": "deadbeef"}\n{"row": "b", "response": "y"}\n'
    path.write_bytes(before)
    with RowStore.open(path) as rows:
        assert list(rows.finished) == ["a", "b"]
        rows.append([row("c")])
    assert path.read_bytes() == before + line("c")
    assert list(read_rows(path)) == ["a", "b", "c"]


@pytest.mark.parametrize("response", [..., None, 3, ["x"]])
def test_a_row_without_a_response_is_named(path, response):
    path.parent.mkdir()
    damaged = {"row": "a"} if response is ... else row("a", response)
    path.write_bytes(checked_line(damaged) + line("b"))
    with raises("invalid-content", "line 1", "response", "Delete"):
        RowStore.open(path)


def test_two_rows_of_one_id_with_other_text_are_named(path):
    path.parent.mkdir()
    path.write_bytes(line("a") + line("b") + checked_line(row("a", "other")) + line("c"))
    for read in (RowStore.open, read_rows):
        with raises("invalid-content", "lines 1 and 3", "row a", "response", "Delete"):
            read(path)


def test_a_verdict_may_follow_a_reply_that_could_not_be_read(path):
    with RowStore.open(path) as rows:
        rows.append([row("a", label=None)])
        rows.append([row("a", label="answer")])
    assert read_rows(path)["a"]["label"] == "answer"
    with RowStore.open(path) as rows:
        rows.append([row("a", label="refusal"), row("b")])
    with raises("invalid-content", "row a", "label"):
        read_rows(path)


def test_a_damaged_last_line_is_named_when_it_is_removed(path, capsys):
    path.parent.mkdir()
    path.write_bytes(line("a") + line("b").replace(b"b", b"c", 1))
    RowStore.open(path).close()
    assert str(path) in capsys.readouterr().err
    assert path.read_bytes() == line("a")


def test_shards_merge_by_concatenation(path):
    path.parent.mkdir()
    path.write_bytes(line("a") + line("b") + line("b") + line("c"))
    with RowStore.open(path) as rows:
        assert list(rows.finished) == ["a", "b", "c"]


def test_a_batch_is_one_write_and_one_fsync(path, monkeypatch):
    calls = []
    real_write, real_sync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, data: calls.append("write") or real_write(fd, data))
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("fsync") or real_sync(fd))
    with RowStore.open(path) as rows:
        rows.append([row(str(k)) for k in range(100)])
    assert calls == ["write", "fsync"]


def test_a_row_without_id_or_with_nan_is_a_bug_and_writes_nothing(path):
    with RowStore.open(path) as rows:
        rows.append([row("a")])
        with pytest.raises(KeyError):
            rows.append([{"response": "x"}])
        with pytest.raises(ValueError, match="Out of range"):
            rows.append([row("b", kl=float("nan"))])
    assert path.read_bytes() == line("a")


WRITER = """
import sys
from calib.runs.row_store import RowStore
with RowStore.open(sys.argv[1]) as rows:
    start = len(rows.finished)
    for k in range(start, 10**6):
        rows.append([{"row": f"{k}-{j}", "response": "x" * 5000} for j in range(8)])
        print(k, flush=True)
"""


def test_kill_9_loses_no_row_that_was_reported_finished(path):
    reported = 0
    for _ in range(3):
        writer = python(WRITER, path)
        for _ in range(20):
            reported = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest, _ = writer.communicate()
        reported = int(rest.split()[-1]) if rest.endswith("\n") and rest.split() else reported
        with RowStore.open(path) as rows:
            assert {f"{reported}-{j}" for j in range(8)} <= set(rows.finished)
            assert all(len(done["response"]) == 5000 for done in rows.finished.values())


def test_an_interrupt_names_the_number_of_saved_rows_and_the_file(path, capsys):
    with pytest.raises(KeyboardInterrupt), RowStore.open(path) as rows:
        rows.append([row("a"), row("b")])
        raise KeyboardInterrupt
    assert f"2 rows are saved in {path}" in capsys.readouterr().err


def test_a_full_disk_keeps_recorded_rows(path):
    # A limit on the file's size acts like a full disk: the system accepts a part of the write, then
    # fails.
    code = """
import resource, sys
from calib.util.errors import CalibError
from calib.runs.row_store import RowStore
with RowStore.open(sys.argv[1]) as rows:
    rows.append([{"row": "a", "response": ""}, {"row": "b", "response": ""}])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        rows.append([{"row": "c", "response": "x" * 5000}])
    except CalibError as error:
        print(error.code, error)
"""
    text, _ = python(code, path).communicate()
    assert text.startswith("no-space") and " 2 " in text and "out=FOLDER" in text
    assert path.read_bytes() == line("a") + line("b")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_after_a_failed_fsync_the_file_is_unchanged_and_usable(path, monkeypatch, number):
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with RowStore.open(path) as rows:
        rows.append([row("a")])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with raises("unwritable" if number == errno.EIO else "no-space", path, " 1 ") as caught:
                rows.append([row("b")])
        assert os.strerror(number) in str(caught.value)
        assert list(rows.finished) == ["a"]
        assert path.read_bytes() == line("a")
        rows.append([row("b")])
    with RowStore.open(path) as rows:
        assert list(rows.finished) == ["a", "b"]


def test_nothing_follows_an_incomplete_line_that_cannot_be_removed(path, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with RowStore.open(path) as rows:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            patch.setattr(os, "ftruncate", refuse)
            with raises("unwritable", path):
                rows.append([row("a")])
        with raises("unwritable", path):
            rows.append([row("b")])
    assert b'"b"' not in path.read_bytes()


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with raises("unwritable", tmp_path / "file", "out=FOLDER"):
        RowStore.open(tmp_path / "file" / "rows.jsonl")
    with (
        raises("unwritable", tmp_path / "file", "out=FOLDER"),
        locked(tmp_path / "file"),
    ):
        pass


HOLDER = """
import sys, time
from calib.runs.row_store import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_locked_out_until_the_first_ends(tmp_path):
    folder = tmp_path / "run"
    holder = python(HOLDER, folder)
    assert holder.stdout.readline() == "held\n"
    with raises("in-use", folder, "out=FOLDER"):
        locked(folder).__enter__()
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with locked(folder):
        pass
    with locked(folder):  # the lock was released, so this process gets it again
        pass


TEMPORARY = [".run.json.123.tmp", "directions/.a.safetensors.7.tmp", "shards/1-of-2/.x.1.tmp"]
OTHER = ["run.json", ".notes.tmp", "other/.run.json.123.tmp", "a.1.tmp"]


@pytest.fixture
def littered(tmp_path):
    for name in (*TEMPORARY, *OTHER):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    return tmp_path


def left(folder: Path) -> set[str]:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return files - {".lock"}


def test_temporary_files_of_killed_processes_are_removed(littered):
    with locked(littered):
        assert left(littered) == set(OTHER)


def test_temporary_files_stay_while_others_may_write_them(littered, monkeypatch):
    with locked(littered, shared=True):
        pass
    monkeypatch.setattr(record, "fcntl", None)
    with locked(littered):
        pass
    assert left(littered) == {*OTHER, *TEMPORARY}


def test_only_folders_of_runs_are_tidied(littered):
    (littered / "run.json").unlink()
    with locked(littered):
        pass
    assert set(TEMPORARY) <= left(littered)


def test_a_file_system_without_locks_is_used_without_one(tmp_path, monkeypatch):
    def unknown(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(record.fcntl, "flock", unknown)
    with locked(tmp_path):
        pass
    monkeypatch.setattr(record, "fcntl", None)
    with locked(tmp_path):
        pass


def test_an_atomic_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "results.csv"
    write_atomically(path, "eins\n")
    write_atomically(path, "två\n".encode())
    assert path.read_text(encoding="utf-8") == "två\n"
    assert [p.name for p in path.parent.iterdir()] == ["results.csv"]


def test_an_atomic_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    write_atomically(path, "old")

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with raises("no-space", "results.csv"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_lines_are_json_that_any_tool_reads(path):
    with RowStore.open(path) as rows:
        rows.append([row("a", response="naïve")])
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written.pop("crc32") and written == row("a", "naïve")
    assert "naïve" in path.read_text(encoding="utf-8")
