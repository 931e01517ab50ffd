"""calib.dualbench: files, printed output, and folders that it refuses to change."""

import io
import json
import re
from pathlib import Path

import pytest
from composing import composed
from in_process import command
from PIL import Image
from raising import raises

from calib import dualbench
from calib.config.commands import DualbenchConfig
from calib.config.data import DualBenchData, MiniData


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
    """A folder written by the command line, and the printed output."""
    out = tmp_path_factory.mktemp("dualbench") / "set"
    done = command("dualbench", f"out={out}", "data.per_category=1", "data.size=200")
    assert done.code == 0, done.stderr
    return out, done.stdout


def test_files_and_printed_output(written: tuple[Path, str]) -> None:
    out, printed = written
    files = contents(out)
    rows = [json.loads(row) for row in files["manifest.jsonl"].decode().splitlines()]
    assert len(rows) == 144
    assert {*files} == {
        "manifest.jsonl",
        "README.md",
        "contact_sheet.png",
        *(row["picture"] for row in rows),
    }
    for value in ("144 pictures", "12 twins", "12 categories", "original 24, real_background 24"):
        assert value in printed
    assert f"{out}/manifest.jsonl\n{out}/README.md\n{out}/contact_sheet.png\n" in printed
    assert "note: dualbench: " in printed


def test_the_readme_states_source_and_parameters(written: tuple[Path, str]) -> None:
    readme = (written[0] / "README.md").read_text(encoding="utf-8")
    for value in ("arXiv 2510.10846", "data.twins=FILE", "200 x 200 px", "seed 0", "6 to 12"):
        assert value in readme
    assert "| small_font | 12 px |" in readme and "17 px" in readme
    assert "| S11 Suicide & Self-Harm |" in readme
    rows = [line.split("|")[2:5] for line in readme.splitlines() if line.startswith("| S")]
    assert [sum(map(int, row)) for row in rows] == [12] * 12


def test_the_contact_sheet_has_a_bounded_size(written: tuple[Path, str]) -> None:
    sheet = Image.open(io.BytesIO((written[0] / "contact_sheet.png").read_bytes()))
    # Four categories with two rows each, six columns, cells of 232 pixels.
    assert sheet.size == (150 + 6 * 232, 28 + 8 * 232)
    harmful, benign = (sheet.crop((150, y, 374, y + 224)).convert("L") for y in (28, 260))
    for cell in (harmful, benign):
        assert cell.getextrema()[0] < 60 and cell.getpixel((2, 2)) == 255
    rows = [
        json.loads(row)
        for row in (written[0] / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for cell, safety in ((harmful, "unsafe"), (benign, "safe")):
        name = next(row["picture"] for row in rows if row["safety"] == safety)
        drawn = Image.open(written[0] / name).resize((224, 224), Image.Resampling.LANCZOS)
        assert drawn.convert("L").tobytes() == cell.tobytes()


def test_the_same_command_writes_the_same_bytes(written: tuple[Path, str]) -> None:
    out, _ = written
    before = contents(out)
    (next((out / "pictures").iterdir())).write_bytes(b"half")  # as after a crash
    dualbench.main(settings(out))
    assert contents(out) == before


def test_files_of_an_interrupted_run_are_overwritten(
    written: tuple[Path, str], tmp_path: Path
) -> None:
    picture = next((written[0] / "pictures").iterdir())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / picture.name).write_bytes(b"old")
    (tmp_path / "pictures" / f".{picture.name}.12.tmp").write_bytes(b"half")
    dualbench.main(settings(tmp_path))
    assert (tmp_path / "pictures" / picture.name).read_bytes() == picture.read_bytes()


@pytest.mark.parametrize("other", ["notes.txt", "pictures/holiday.png", "sub/manifest.jsonl"])
def test_a_folder_with_other_files_is_not_changed(tmp_path: Path, other: str) -> None:
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).write_text("mine", encoding="utf-8")
    with raises("already-exists", tmp_path, other.split("/")[0], "out=FOLDER"):
        dualbench.main(settings(tmp_path))
    assert list(contents(tmp_path)) == [other]


def test_another_set_is_not_changed(written: tuple[Path, str]) -> None:
    before = contents(written[0])
    with raises("different-run", written[0]):
        dualbench.main(settings(written[0], seed=1))
    assert contents(written[0]) == before


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with raises("already-exists", tmp_path / "file", "out=FOLDER"):
        dualbench.main(settings(tmp_path / "file"))


def test_other_data_and_a_rendered_set_are_refused(tmp_path: Path) -> None:
    with raises("unsupported", "data=mini", "data=dualbench"):
        dualbench.main(DualbenchConfig(MiniData(), str(tmp_path)))
    with raises("conflicting-settings", "data.root=x"):
        dualbench.main(settings(tmp_path, root="x"))


def test_text_of_the_user_is_only_in_the_manifest(tmp_path: Path) -> None:
    twins = tmp_path / "twins.csv"
    twins.write_text("category,harmful,benign,id\nS1,Eat ../a.,Eat /b.,../../x\n", encoding="utf-8")
    out = tmp_path / "set"
    data = {"twins": str(twins), "variants": ["original", "noise"]}
    dualbench.main(settings(out, **data))
    names = [name for name in contents(out) if name.startswith("pictures/")]
    assert len(names) == 4
    assert all(re.fullmatch(r"pictures/S1_[a-z]+_(un)?safe_[0-9a-f]{16}\.png", n) for n in names)
    assert "Eat ../a." in (out / "manifest.jsonl").read_text(encoding="utf-8")
    assert "Eat" not in (out / "README.md").read_text(encoding="utf-8")


def test_the_command_line_accepts_data_settings() -> None:
    config = composed("dualbench", "data.per_category=null", "data.variants=[original]")
    assert config.data == DualBenchData(per_category=None, variants=["original"])
    with raises("invalid-setting", "out"):
        DualbenchConfig(DualBenchData(), " ")
