"""Pictures with the same content are found by their bytes."""

from calib.data.audit.pictures import first_copies
from calib.data.images import PictureBytes, PictureFile
from calib.util.errors import CalibError


def test_the_first_of_equal_files_stands_for_all(tmp_path):
    contents = {"a": b"12", "b": b"34", "c": b"12", "d": b"123", "e": b"12"}
    files = {name: PictureFile(tmp_path / name) for name in contents}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    firsts = first_copies(files.values())
    assert {name: firsts[picture].path.name for name, picture in files.items()} == {
        **{"a": "a", "b": "b", "c": "a", "d": "d", "e": "a"},
    }


def test_files_and_cells_are_compared_by_content(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    file, cell = PictureFile(tmp_path / "a"), PictureBytes("cell", lambda: b"12")
    assert first_copies([file, cell]) == {file: file, cell: file}


def test_missing_and_empty_pictures_are_like_no_other(tmp_path):
    def fail():
        raise CalibError("not-found", "no such member")

    pictures = [
        *(PictureFile(tmp_path / "no"), PictureFile(tmp_path / "none")),
        *(PictureBytes("empty 1", bytes), PictureBytes("empty 2", bytes)),
        *(PictureBytes("broken 1", fail), PictureBytes("broken 2", fail, size=3)),
    ]
    assert first_copies(pictures) == {picture: picture for picture in pictures}


def test_only_files_of_the_same_size_are_read():
    def unread():
        raise AssertionError("read")

    pictures = [PictureBytes(str(size), unread, size=size) for size in (1, 2, 3)]
    assert first_copies(pictures) == {picture: picture for picture in pictures}
