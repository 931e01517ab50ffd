"""Every damaged picture ends in a right value, a note, or a CalibError that names the cause."""

import json
from pathlib import Path

import pytest
from damaged_pictures import PictureInput, damaged_pictures, encoded
from damaged_tables import ROWS, Refused
from raising import raises

from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark

PICTURES = damaged_pictures()
OPENED = [p for p in PICTURES if p.when_opened and isinstance(p.outcome, Refused)]


def pairs(picture: PictureInput, tmp_path: Path) -> str:
    """A table whose safe query has the picture."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "good.png").write_bytes(encoded("PNG"))
    cells = (picture.place(folder), "good.png")
    rows = [{**row, "image": cell} for row, cell in zip(ROWS, cells, strict=True)]
    (folder / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")
    return str(folder / "pairs.json")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("picture", PICTURES, ids=str)
def test_a_picture_is_read_or_refused(picture: PictureInput, tmp_path: Path) -> None:
    config = PairsData(file=pairs(picture, tmp_path))
    if isinstance(picture.outcome, Refused):
        # The list of broken pictures has one code for all of them.
        code = "unreadable" if picture.when_opened else picture.outcome.code
        with raises(code, picture.outcome.value):
            load_benchmark(config)
        return
    (safe,) = (e for e in load_benchmark(config).examples if e.safety == "safe")
    if picture.outcome is None:
        assert safe.picture is None
    else:
        assert safe.picture is not None
        image = safe.picture()
        assert (image.mode, image.size) == ("RGB", picture.outcome)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("picture", OPENED, ids=str)
def test_a_broken_picture_is_skipped_with_a_note(picture: PictureInput, tmp_path: Path) -> None:
    loaded = load_benchmark(PairsData(file=pairs(picture, tmp_path), skip_broken=True))
    assert [example.safety for example in loaded.examples] == ["unsafe"]
    assert any("data.skip_broken: skipped 1 of 2" in note for note in loaded.notes)


def test_the_names_are_distinct_and_there_are_many() -> None:
    assert len({picture.name for picture in PICTURES}) == len(PICTURES) >= 60
