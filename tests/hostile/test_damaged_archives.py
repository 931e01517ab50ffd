"""Damaged zip archives and workbooks end in an error that names the cause, or in a note."""

import shutil
import zipfile
from pathlib import Path

import pytest
from benchmark_copies import local
from damaged_tables import PAGE, POINTER
from raising import raises

from calib.config.data import PublishedData, VscbenchData
from calib.data.benchmarks import load_benchmark

POINTERS = [(POINTER, "Git LFS"), (PAGE, "HTML"), ("", "empty"), ("PK\x03\x04", "zip")]


@pytest.fixture
def vlguard(tmp_path: Path) -> Path:
    """A copy whose pictures are in archives."""
    root = tmp_path / "own"
    shutil.copytree(local("vlguard", tmp_path / "copy"), root)
    for part in ("train", "test"):
        if (root / part).is_dir():
            shutil.make_archive(str(root / part), "zip", root / part)
            shutil.rmtree(root / part)
    return root


def config(root: Path, **settings: object) -> PublishedData:
    subsets = ["safe_safes", "safe_unsafes", "unsafes"]
    return PublishedData(
        name="vlguard", root=str(root), subsets=subsets, variants=["photo"], **settings
    )


@pytest.mark.parametrize(("content", "cause"), POINTERS)
def test_an_archive_that_is_something_else(vlguard, content, cause):
    (vlguard / "train.zip").write_text(content, encoding="utf-8")
    with raises("unreadable", "train.zip", cause):
        load_benchmark(config(vlguard))


def test_a_member_whose_bytes_are_missing(vlguard):
    path = vlguard / "train.zip"
    with zipfile.ZipFile(path) as archive:
        info = max(archive.infolist(), key=lambda info: info.header_offset)
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + info.compress_size] = b"\xff" * info.compress_size
    path.write_bytes(data)
    whole = config(vlguard)
    with raises("unreadable", info.filename, "data.skip_broken=true"):
        load_benchmark(whole)
    loaded = load_benchmark(config(vlguard, skip_broken=True))
    assert loaded.examples and any("skip_broken" in note for note in loaded.notes)


@pytest.mark.parametrize(("content", "cause"), POINTERS)
def test_a_workbook_that_is_something_else(tmp_path, content, cause):
    root = local("vscbench", tmp_path / "copy")
    (root / "vscbench_text_centric.xlsx").write_text(content, encoding="utf-8")
    with raises("unreadable", "vscbench_text_centric.xlsx", cause):
        load_benchmark(VscbenchData(root=str(root)))
