"""calib.dualbench: what it writes and prints, and folders it does not touch."""

import io
import json
import re
from pathlib import Path

import pytest
from composing import composed
from in_process import command
from PIL import Image

from calib import dualbench
from calib.config.commands import DualbenchConfig
from calib.config.data import DualBenchData, MiniData
from calib.util.errors import CalibError


def settings(out: Path, **changes: object) -> DualbenchConfig:
    data = {"per_category": 1, "size": 200, **changes}
    return DualbenchConfig(DualBenchData(**data), str(out))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder that the command line wrote, and what was printed."""
    out = tmp_path_factory.mktemp("dualbench") / "set"
    done = command("dualbench", f"out={out}", "data.per_category=1", "data.size=200")
    assert done.code == 0, done.stderr
    return out, done.stdout


def test_the_folder_and_what_is_printed(written: tuple[Path, str]) -> None:
    out, printed = written
    found = contents(out)
    rows = [json.loads(row) for row in found["manifest.jsonl"].decode().splitlines()]
    assert len(rows) == 144
    assert {*found} == {
        "manifest.jsonl",
        "README.md",
        "contact_sheet.png",
        *(row["picture"] for row in rows),
    }
    assert "144 pictures: 12 twins of 12 categories, original 24, real_background 24" in printed
    assert f"{out}/manifest.jsonl\n{out}/README.md\n{out}/contact_sheet.png\n" in printed
    assert "note: dualbench: the instructions are calib's own templates" in printed


def test_the_card_says_how_and_of_whom(written: tuple[Path, str]) -> None:
    card = (written[0] / "README.md").read_text()
    for words in ("arXiv 2510.10846", "placeholder content", "200 px square, seed 0", "6 to 12"):
        assert words in card
    assert "| small_font | 12 px |" in card and "at least 17 px" in card
    assert "| S11 Suicide & Self-Harm |" in card
    rows = [line.split("|")[2:5] for line in card.splitlines() if line.startswith("| S")]
    assert [sum(map(int, row)) for row in rows] == [12] * 12


def test_the_contact_sheet_has_a_bounded_size(written: tuple[Path, str]) -> None:
    sheet = Image.open(io.BytesIO((written[0] / "contact_sheet.png").read_bytes()))
    # Four categories in two rows, six columns; cells of 232 pixels.
    assert sheet.size == (150 + 6 * 232, 28 + 8 * 232)
    harmful, benign = (sheet.crop((150, y, 374, y + 224)).convert("L") for y in (28, 260))
    for cell in (harmful, benign):
        assert cell.getextrema()[0] < 60 and cell.getpixel((2, 2)) == 255
    rows = [json.loads(row) for row in (written[0] / "manifest.jsonl").read_text().splitlines()]
    for cell, safety in ((harmful, "unsafe"), (benign, "safe")):
        name = next(row["picture"] for row in rows if row["safety"] == safety)
        drawn = Image.open(written[0] / name).resize((224, 224), Image.Resampling.LANCZOS)
        assert drawn.convert("L").tobytes() == cell.tobytes()


def test_the_same_command_writes_the_same_bytes(written: tuple[Path, str]) -> None:
    out, _ = written
    before = contents(out)
    (next((out / "pictures").iterdir())).write_bytes(b"half")  # as a crash could leave it
    dualbench.main(settings(out))
    assert contents(out) == before


def test_what_an_interrupted_run_left_is_overwritten(
    written: tuple[Path, str], tmp_path: Path
) -> None:
    picture = next((written[0] / "pictures").iterdir())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / picture.name).write_bytes(b"old")
    (tmp_path / "pictures" / f".{picture.name}.12.tmp").write_bytes(b"half")
    dualbench.main(settings(tmp_path))
    assert (tmp_path / "pictures" / picture.name).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("other", ["notes.txt", "pictures/holiday.png", "sub/manifest.jsonl"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, other: str) -> None:
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).write_text("mine")
    with pytest.raises(CalibError, match="holds something else.*out=FOLDER"):
        dualbench.main(settings(tmp_path))
    assert list(contents(tmp_path)) == [other]


def test_another_set_is_left_alone(written: tuple[Path, str]) -> None:
    before = contents(written[0])
    with pytest.raises(CalibError, match="drawn with other settings"):
        dualbench.main(settings(written[0], seed=1))
    assert contents(written[0]) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CalibError, match="is a file. Give a folder"):
        dualbench.main(settings(tmp_path / "file"))


def test_other_data_and_a_finished_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibError, match="data=mini has no pictures to render.*data=dualbench"):
        dualbench.main(DualbenchConfig(MiniData(), str(tmp_path)))
    with pytest.raises(CalibError, match="data.root=x is already rendered"):
        dualbench.main(settings(tmp_path, root="x"))


def test_text_of_the_user_reaches_the_manifest_alone(tmp_path: Path) -> None:
    twins = tmp_path / "twins.csv"
    twins.write_text("category,harmful,benign,id\nS1,Eat ../a.,Eat /b.,../../x\n")
    out = tmp_path / "set"
    data = {"twins": str(twins), "variants": ["original", "noise"]}
    dualbench.main(settings(out, **data))
    names = [name for name in contents(out) if name.startswith("pictures/")]
    assert len(names) == 4
    assert all(re.fullmatch(r"pictures/S1_[a-z]+_(un)?safe_[0-9a-f]{16}\.png", n) for n in names)
    assert "Eat ../a." in (out / "manifest.jsonl").read_text()
    assert "Eat" not in (out / "README.md").read_text()


def test_the_command_line_takes_settings_of_the_data() -> None:
    config = composed("dualbench", "data.per_category=null", "data.variants=[original]")
    assert config.data == DualBenchData(per_category=None, variants=["original"])
    with pytest.raises(CalibError, match="out.*empty"):
        DualbenchConfig(DualBenchData(), " ")
