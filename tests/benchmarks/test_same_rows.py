"""Rows of two runs are compared by setting, or by id where a run is unfinished."""

import json

import pytest
from made_up_run import write_run
from raising import raises

from benchmarks.same_rows import compare, main, rows_of
from calib.runs.row_store import ROWS_FILE
from calib.util.checked_lines import checked_line


@pytest.fixture
def runs(tmp_path):
    return write_run(tmp_path / "one"), write_run(tmp_path / "other")


def changed(folder, number, **facts):
    """Change a row of a run; an id of None leaves it out."""
    path = folder / ROWS_FILE
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    for row in rows:
        row.pop("crc32", None)
    rows[number] |= facts
    path.write_bytes(b"".join(checked_line(row) for row in rows if row["row"] is not None))


def outcome(capsys, *folders):
    with pytest.raises(SystemExit) as ended:
        main(*map(str, folders))
    return ended.value.code, capsys.readouterr().out


def test_equal_runs_are_the_same(runs, capsys):
    code, out = outcome(capsys, *runs)
    assert code == 0
    found = compare(*rows_of(*runs))
    assert found.shared and found.is_same and f"{found.shared:,}" in out


def test_another_response_is_counted_and_shown_without_escape_sequences(runs, capsys):
    changed(runs[1], 0, response="\x1b[2Jsomething else")
    code, out = outcome(capsys, *runs)
    assert code == 1
    assert "something else" in out and "\x1b" not in out
    assert len(compare(*rows_of(*runs)).differing) == 1


def test_rows_that_one_run_lacks(runs, capsys):
    changed(runs[1], 0, row=None)
    found = compare(*rows_of(*runs))
    assert [len(only) for only in found.only] == [1, 0] and not found.differing
    assert outcome(capsys, *runs)[0] == 1


def test_kl_is_reported_but_does_not_count(runs, capsys):
    rows = [json.loads(line) for line in (runs[0] / ROWS_FILE).read_bytes().splitlines()]
    number = next(k for k, row in enumerate(rows) if row["kl"] is not None)
    changed(runs[1], number, kl=rows[number]["kl"] + 0.5)
    code, out = outcome(capsys, *runs)
    assert code == 0 and "0.500000" in out


def test_unfinished_runs_are_compared_by_id(runs, capsys):
    (runs[0] / "labels.jsonl").unlink()
    assert outcome(capsys, *runs)[0] == 0
    assert all(len(key) == 1 for key in rows_of(*runs)[0])


def test_a_folder_without_rows_is_named(runs, tmp_path, capsys):
    with pytest.raises(SystemExit, match="nowhere"):
        main(str(runs[0]), str(tmp_path / "nowhere"))


def test_a_run_without_rows_is_named(runs):
    (runs[1] / ROWS_FILE).write_bytes(b"")
    with raises("not-found", runs[1], ROWS_FILE):
        rows_of(*runs)
