"""Files and JSON of others: regular files of bounded size, nesting and count."""

import os

import pytest

from calib.util import reading
from calib.util.reading import file_bytes, file_text, parse_json, require_moderate

DEEP = reading.MAX_DEPTH


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        file_bytes(path)


def test_a_missing_file_is_named_as_such(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_bytes(tmp_path / "a")


def test_a_file_has_a_largest_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("\ufeffé".encode())
    assert file_text(path, 5) == "é"
    with pytest.raises(ValueError, match="5 bytes"):
        file_text(path, 4)


@pytest.mark.parametrize("depth", [DEEP + 1, 5_000, 100_000])
def test_nested_json_has_a_largest_depth(depth):
    assert parse_json("[" * DEEP + "1" + "]" * DEEP)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * depth + "1" + "]" * depth)


def test_json_has_a_largest_number_of_values(monkeypatch):
    monkeypatch.setattr(reading, "MAX_VALUES", 5)
    assert parse_json("[1,2,3,4]") == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="more than 5"):
        parse_json("[1,2,3,4,5,6]")
    with pytest.raises(ValueError, match="more than 5"):
        parse_json(b'{"a":[1,2,3,4,5,6]}')


def test_a_value_counts_as_often_as_it_is_referred_to():
    inner = [1] * 10
    require_moderate([inner] * 10, 110)
    with pytest.raises(ValueError, match="more than 109"):
        require_moderate([inner] * 10, 109)


def test_a_list_of_itself_has_no_end():
    own = {"a": []}
    own["a"].append(own)
    with pytest.raises(ValueError, match="nested too deeply"):
        require_moderate(own)
