"""Pictures in files and table cells, and the check of all pictures before a run."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image
from raising import raises

from calib.data.example import Example
from calib.data.images import (
    PictureBytes,
    PictureFile,
    check_pictures,
    picture_file,
    picture_from_cell,
)


def png(grey: int = 7) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (grey, grey, grey)).save(data, "PNG")
    return data.getvalue()


def example(id_: str, picture) -> Example:
    return Example(id_, "image_centric", "photo", "c", "test", "What?", picture)


def test_a_cell_contains_a_picture_or_its_path(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    cells = [
        "a.png", " a.png ", png(), {"bytes": png(), "path": None}, {"bytes": None, "path": "a.png"},
        PictureBytes("x", png),
    ]  # fmt: skip
    for cell in cells:
        assert picture_from_cell(cell, tmp_path, "row 1")().getpixel((0, 0)) == (7, 7, 7)
    assert picture_from_cell(None, tmp_path, "row 1") is None
    assert picture_from_cell("", tmp_path, "row 1") is None
    with raises("invalid-value", "row 1", "int"):
        picture_from_cell(3, tmp_path, "row 1")


def test_subfolders_and_windows_separators(tmp_path):
    assert picture_file(tmp_path, "a/b.png", "row").path == tmp_path / "a/b.png"
    assert picture_file(tmp_path, "a\\b.png", "row").path == tmp_path / "a/b.png"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "..",
        "../a.png",
        "a/../../b",
        "/a.png",
        "C:/a",
        "a\0b",
        "~/../a.png",
        "http://host/a.png",
        "x" * 300,
        "x" * 5000,
    ],
)
def test_names_that_lead_out_of_the_root_are_refused(tmp_path, name):
    with raises("invalid-value", "row 7", tmp_path):
        picture_file(tmp_path, name, "row 7")


def test_a_root_may_be_a_link(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    for name in ("a.png", str(real / "a.png"), str(tmp_path / "link" / "a.png")):
        assert picture_file(tmp_path / "link", name, "row").path == tmp_path / "link" / "a.png"
    (real / "a.png").symlink_to(tmp_path / "gone.png")
    with raises("not-found", tmp_path / "gone.png"):
        picture_file(real, "a.png", "row")()


def test_the_cache_of_the_hub_consists_of_links(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "f0" / "images"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    (blobs / "1").write_bytes(png())
    (snapshot / "a.png").symlink_to(Path("../../../blobs/1"))
    assert picture_file(snapshot.parent, "images/a.png", "row")().size == (4, 4)


@pytest.mark.parametrize("wrap", [str, "data:image/png;base64,{}".format, " {}\n".format])
def test_a_cell_contains_a_picture_in_base64(tmp_path, wrap):
    noise = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(noise, "PNG")
    text = base64.b64encode(noise.getvalue()).decode()
    assert picture_from_cell(wrap(text), tmp_path, "row 1")().size == (300, 300)
    with raises("unreadable", "row 1"):
        picture_from_cell(wrap(text[:1001]), tmp_path, "row 1")()
    with raises("unreadable", "row 1"):
        picture_from_cell(wrap(text[:1000]), tmp_path, "row 1")()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n"
PAGE = "<!DOCTYPE html><html><title>Log in</title></html>"


@pytest.mark.parametrize(("text", "kind"), [(POINTER, "Git LFS"), (PAGE, "HTML")])
def test_content_in_place_of_a_picture_is_named(tmp_path, text, kind):
    (tmp_path / "a.png").write_text(text, encoding="utf-8")
    with raises("unreadable", "a.png", kind):
        picture_file(tmp_path, "a.png", "row")()
    with raises("unreadable", "row 7", kind):
        picture_from_cell(text.encode(), tmp_path, "row 7")()
    with raises("invalid-value", "row 7", kind):
        picture_from_cell(text, tmp_path, "row 7")


def test_an_invalid_cell_is_named():
    with raises("unreadable", "table, row 3"):
        PictureBytes("table, row 3", lambda: b"no picture")()
    with raises("missing-value", "table, row 3"):
        PictureBytes("table, row 3", lambda: None)()


def test_examples_with_readable_pictures_are_unchanged(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    examples = [example("a", PictureFile(tmp_path / "a.png")), example("b", None)]
    examples.append(example("c", lambda: Image.new("RGB", (2, 2))))
    assert check_pictures(examples, skip_broken=False) == (examples, [])


def test_a_picture_of_two_examples_is_counted_once(tmp_path):
    gone = PictureFile(tmp_path / "gone.png")
    examples = [example("a", gone), example("b", gone), example("c", None)]
    with raises("unreadable", "1 of 1", gone.path, "utility.skip_broken=true"):
        check_pictures(examples, skip_broken=False, key="utility")
    readable, (note,) = check_pictures(examples, skip_broken=True, key="utility")
    assert [example.id for example in readable] == ["c"]
    for value in ("utility.skip_broken", "2 of 3 examples", "1 pictures", str(gone.path)):
        assert value in note


def test_cells_of_a_table_are_distinguished():
    good = PictureBytes("table, row 1", lambda: png(1))
    bad = PictureBytes("table, row 2", lambda: b"")
    readable, _ = check_pictures([example("a", good), example("b", bad)], skip_broken=True)
    assert [example.id for example in readable] == ["a"]


def test_picture_files_are_equal_if_their_paths_are():
    assert PictureFile(Path("a")) == PictureFile(Path("a"))
