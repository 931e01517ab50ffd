"""Notes on a number of rows that differs from the publication, and on repeated examples."""

from dataclasses import replace

from calib.data.audit.rows import repeat_note, size_note
from calib.data.example import Example, with_pictures
from calib.data.images import PictureBytes


def example(id: str, picture: bytes | None = None, **changes) -> Example:
    stored = None if picture is None else PictureBytes(id, lambda: picture)
    plain = Example(id, "utility", "v", "c", "test", "What is this?", stored, answer="A")
    return replace(plain, **changes)


def test_a_number_is_noted_where_it_differs():
    assert size_note(450, 450, "table") == size_note(3, None, "table") == []
    (note,) = size_note(1240, 1319, "table")
    assert all(value in note for value in ("table", "1,240", "1,319"))


def test_repeats_are_noted_once_with_their_number_and_the_first():
    repeated = [example("1"), example("2"), example("3"), example("4", query="And this?")]
    (note,) = repeat_note(repeated, "set")
    assert all(value in note for value in ("set", "n=2", "2"))
    assert repeat_note(repeated[2:], "set") == []


def test_all_pictures_are_compared():
    def several(id: str, *pictures: bytes) -> Example:
        stored = [
            PictureBytes(f"{id}/{k}", lambda data=data: data) for k, data in enumerate(pictures)
        ]
        return with_pictures(example(id), stored)

    different = [several("1", b"a"), several("2", b"a", b"b"), several("3", b"b", b"a")]
    assert repeat_note(different, "set") == []
    (note,) = repeat_note([*different, several("4", b"a", b"b")], "set")
    assert "n=1" in note and "4" in note


def test_examples_with_another_picture_label_or_request_are_no_repeats():
    different = [
        *(example("1", b"a"), example("2", b"b"), example("3")),
        *(example("4", answer="B"), example("5", safety="safe"), example("6", variant="w")),
        *(example("7", b"c", pair="p"), example("8", b"c", pair="q")),
        example("9", metadata={"request": "Fold it."}),
    ]
    assert repeat_note(different, "set") == []
    (note,) = repeat_note([*different, example("10", b"b"), example("11", b"d", pair="q")], "set")
    assert "n=2" in note
