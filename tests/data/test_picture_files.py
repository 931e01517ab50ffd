"""Pictures of others: in files, in cells of tables, and the check of all of them."""

import io
from pathlib import Path

import pytest
from PIL import Image

from calib.data.example import Example
from calib.data.images import PictureBytes, PictureFile, picture_file, picture_from_cell, check_pictures
from calib.util.errors import CalibError


def png(grey: int = 7) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), (grey, grey, grey)).save(data, "PNG")
    return data.getvalue()


def example(id_: str, picture) -> Example:
    return Example(id_, "image_centric", "photo", "c", "test", "What?", picture)


def test_a_cell_names_or_holds_a_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    held = [
        "a.png", " a.png ", png(), {"bytes": png(), "path": None}, {"bytes": None, "path": "a.png"},
        PictureBytes("x", png),
    ]  # fmt: skip
    for cell in held:
        assert picture_from_cell(cell, tmp_path, "row 1")().getpixel((0, 0)) == (7, 7, 7)
    assert picture_from_cell(None, tmp_path, "row 1") is None
    assert picture_from_cell("", tmp_path, "row 1") is None
    with pytest.raises(CalibError, match="row 1 holds int, no picture"):
        picture_from_cell(3, tmp_path, "row 1")


def test_subfolders_and_windows_separators(tmp_path):
    assert picture_file(tmp_path, "a/b.png", "row").path == tmp_path / "a/b.png"
    assert picture_file(tmp_path, "a\\b.png", "row").path == tmp_path / "a/b.png"


@pytest.mark.parametrize("name", ["", " ", "..", "../a.png", "a/../../b", "/a.png", "C:/a", "a\n"])
def test_names_that_lead_out_of_the_root(tmp_path, name):
    with pytest.raises(CalibError, match="row 7: .* is no path inside"):
        picture_file(tmp_path, name, "row 7")


def test_a_linked_root_is_no_escape(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    assert isinstance(picture_file(tmp_path / "link", "a.png", "row"), PictureFile)


def test_bytes_that_are_no_picture_name_their_cell():
    with pytest.raises(CalibError, match="Picture table, row 3 cannot be read"):
        PictureBytes("table, row 3", lambda: b"no picture")()
    with pytest.raises(CalibError, match="Picture table, row 3 is empty"):
        PictureBytes("table, row 3", lambda: None)()


def test_all_sound_pictures_stay(tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    some = [example("a", PictureFile(tmp_path / "a.png")), example("b", None)]
    some.append(example("c", lambda: Image.new("RGB", (2, 2))))
    assert check_pictures(some, skip_broken=False) == (some, [])


def test_a_picture_of_two_examples_is_one_fault(tmp_path):
    gone = PictureFile(tmp_path / "gone.png")
    some = [example("a", gone), example("b", gone), example("c", None)]
    with pytest.raises(CalibError) as caught:
        check_pictures(some, skip_broken=False, key="utility")
    assert str(caught.value) == (
        f"1 of 1 pictures cannot be read:\n  Picture {gone.path} does not exist. Put the picture "
        "there.\nPut them right, or go on without them: utility.skip_broken=true."
    )
    kept, notes = check_pictures(some, skip_broken=True, key="utility")
    assert [one.id for one in kept] == ["c"]
    assert notes == [
        "utility.skip_broken: 2 of 3 examples were left out, whose 1 pictures cannot be read "
        f"(first: {gone.path})"
    ]


def test_cells_of_one_table_are_told_apart():
    good = PictureBytes("table, row 1", lambda: png(1))
    bad = PictureBytes("table, row 2", lambda: b"")
    kept, _ = check_pictures([example("a", good), example("b", bad)], skip_broken=True)
    assert [one.id for one in kept] == ["a"]


def test_files_are_made_anew_from_their_path():
    assert PictureFile(Path("a")) == PictureFile(Path("a"))
