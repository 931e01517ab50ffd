"""VSCBench's workbooks: repaired defects and unusable files."""

from collections import Counter
from pathlib import Path

import openpyxl
import pytest
from vscbench_workbooks import (
    IMAGE,
    REAL,
    TEXT,
    by_id,
    has_note,
    load_photos,
    load_text,
    refused,
    text_rows,
    write,
    write_text,
)

from calib.data import vscbench_tables
from calib.data.example import pairs
from calib.data.text_image import render_text
from calib.data.vscbench_tables import IMAGE_COLUMNS, TEXT_COLUMNS

# Defects of the text-centric workbook


def test_an_overwritten_prompt_is_repaired_with_its_object(tmp_path: Path) -> None:
    rows = text_rows()
    rows[2] |= {
        "prompt_origin": "Where is the content in the image  kept?",
        "prompt_mm": "Where is the content in the image  kept?",
        "prompt_figstep": "Places of The content in the image.",
    }
    write_text(tmp_path, rows)
    benchmark = load_text(tmp_path, "text_only", "typography", "figstep")
    examples = by_id(benchmark)
    assert examples["text_centric/text_only/2"].query == "Where is a map kept?"
    assert examples["text_centric/text_only/2"].metadata["request"] == "Where is a map kept?"
    assert examples["text_centric/typography/2"].query == "Where is the content in the image kept?"
    figstep = examples["text_centric/figstep/2"].picture
    assert figstep is not None
    steps = "Places of a map.\n1.\n2.\n3."
    assert figstep().tobytes() == render_text(steps, size=448).tobytes()
    assert has_note(benchmark, "'object'", "Excel rows 4 (n=1)")


def test_an_overwritten_prompt_without_object_is_skipped(tmp_path: Path) -> None:
    rows = text_rows()
    rows[2] |= {"prompt_origin": "Where is the content in the image kept?", "object": None}
    write_text(tmp_path, rows)
    benchmark = load_text(tmp_path, "text_only", "typography")
    examples = by_id(benchmark)
    assert "text_centric/text_only/2" not in examples
    assert "text_centric/typography/2" not in examples  # nothing to render
    assert has_note(benchmark, "text_only", "'prompt_origin'")
    assert has_note(benchmark, "typography", "n=8")


def test_needless_blanks_are_removed_and_counted(tmp_path: Path) -> None:
    rows = text_rows()
    rows[0] |= {"prompt_origin": "  How can I  peel an egg? ", "focus": "peel "}
    write_text(tmp_path, rows)
    benchmark = load_text(tmp_path, "text_only")
    assert by_id(benchmark)["text_centric/text_only/0"].query == "How can I peel an egg?"
    assert has_note(benchmark, TEXT, "(n=2)")


def test_rows_without_a_type_are_skipped_with_a_note(tmp_path: Path) -> None:
    rows = text_rows()
    rows[0]["type"] = None
    write_text(tmp_path, rows)
    benchmark = load_text(tmp_path, "text_only")
    assert len(benchmark.examples) == 8
    assert has_note(benchmark, "'type'", "Excel rows 2 (n=1)")


def test_empty_columns_and_empty_rows_are_ignored(tmp_path: Path) -> None:
    rows = text_rows()
    write_text(tmp_path, [*rows[:2], {}, *rows[2:]], (*TEXT_COLUMNS, None, None))
    examples = by_id(load_text(tmp_path, "text_only"))
    assert len(examples) == 9
    assert "text_centric/text_only/2" not in examples  # a row's number is its index in the sheet


def test_an_unexpected_number_of_rows_has_a_note(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert has_note(load_text(tmp_path, "text_only"), TEXT, "9 rows", "450")


def test_cells_that_are_numbers_are_read_as_text(tmp_path: Path) -> None:
    rows = text_rows()
    rows[0]["object"] = 1984
    write_text(tmp_path, rows)
    examples = by_id(load_text(tmp_path, "text_only"))
    assert examples["text_centric/text_only/0"].metadata["object"] == "1984"


# Unusable files


@pytest.mark.parametrize(("part", "name"), [("text_centric", TEXT), ("image_centric", IMAGE)])
def test_a_missing_workbook_is_named(tmp_path: Path, part: str, name: str) -> None:
    refused(tmp_path, "not-found", tmp_path / name, "data.root", parts=[part])


def test_only_the_workbook_of_the_selected_part_is_required(tmp_path: Path) -> None:
    write_text(tmp_path)
    assert load_text(tmp_path, "text_only").examples


@pytest.mark.parametrize("content", [b"", b"type,focus\n", b"PK\x03\x04 torn"])
def test_a_file_that_is_not_a_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / TEXT).write_bytes(content)
    refused(tmp_path, "unreadable", tmp_path / TEXT, ".xlsx")


def test_a_truncated_workbook_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path)
    (tmp_path / TEXT).write_bytes((tmp_path / TEXT).read_bytes()[:-200])
    refused(tmp_path, "unreadable", tmp_path / TEXT)


def test_a_missing_column_is_named_with_its_sheet_and_the_closest(tmp_path: Path) -> None:
    columns = ["promt_mm" if column == "prompt_mm" else column for column in TEXT_COLUMNS]
    write_text(tmp_path, columns=columns)
    values = ("'Sheet1'", tmp_path / TEXT, "'prompt_mm'", "'promt_mm'?", "'type', 'focus'")
    refused(tmp_path, "missing-column", *values)


def test_a_duplicate_column_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path, columns=(*TEXT_COLUMNS, "object"))
    refused(tmp_path, "duplicate", "'object' 2 times")


def test_empty_sheets_are_refused(tmp_path: Path) -> None:
    write(tmp_path / TEXT, [], [])
    refused(tmp_path, "missing-column", "'type'", "none")
    write_text(tmp_path, [])
    refused(tmp_path, "too-few", tmp_path / TEXT)


@pytest.mark.parametrize("limit", ["MAX_ROWS", "MAX_BYTES"])
def test_oversized_workbooks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    write_text(tmp_path)
    monkeypatch.setattr(vscbench_tables, limit, 3)
    refused(tmp_path, "too-large", tmp_path / TEXT, " 3")


# The real files


@pytest.mark.skipif(not (REAL / TEXT).is_file(), reason="VSCBench's metadata is not available")
def test_the_real_text_centric_sheet() -> None:
    benchmark = load_text(REAL, "text_only", "typography", "figstep")
    assert Counter((e.variant, e.safety) for e in benchmark.examples) == {
        (variant, safety): count
        for variant in ("text_only", "typography", "figstep")
        for safety, count in (("safe", 250), ("unsafe", 200))
    }
    assert len(by_id(benchmark)) == 1350
    matched = pairs(benchmark.examples)
    assert len(matched) == 600
    assert all(p.safe.variant == p.unsafe.variant for p in matched)
    assert all(p.safe.split == p.unsafe.split for p in matched)
    assert set(Counter(p.unsafe.category for p in matched).values()) == {75}
    assert has_note(benchmark, "Excel rows 399 (n=1)")
    assert not any("the content in the image" in e.metadata["request"] for e in benchmark.examples)


@pytest.mark.skipif(not (REAL / IMAGE).is_file(), reason="VSCBench's metadata is not available")
def test_the_real_image_centric_sheet(tmp_path: Path) -> None:
    (tmp_path / IMAGE).write_bytes((REAL / IMAGE).read_bytes())
    rows, notes = vscbench_tables.read_image_rows(tmp_path / IMAGE)
    assert len(rows) == 298
    assert any("Excel rows 268, 287 (n=2)" in note for note in notes)
    refused(tmp_path, "not-found", "1787 of 1787", "Excel row 94", parts=["image_centric"])

    folder = tmp_path / "vscbench_image_centric_images"
    for category in {row["Category"] for row in rows}:
        (folder / category).mkdir(parents=True)
    for row in rows:
        for column in IMAGE_COLUMNS[2:]:
            (folder / row["Category"] / row[column]).touch()
    (folder / "violence" / "safe_violence_42_0.png").touch()
    benchmark = load_photos(tmp_path)
    assert Counter(e.safety for e in benchmark.examples) == {"safe": 894, "unsafe": 894}
    assert len(pairs(benchmark.examples)) == 894
    assert has_note(benchmark, "safe_violence_42_0.png")


@pytest.mark.skipif(not (REAL / IMAGE).is_file(), reason="VSCBench's metadata is not available")
def test_the_oddities_of_the_real_image_centric_sheet() -> None:
    path = REAL / IMAGE
    raw = list(openpyxl.load_workbook(path, read_only=True).worksheets[0].values)[1:]
    prompts = [row[1] for row in raw[:300]]
    assert sum(prompt is None for prompt in prompts) == 2
    assert sum(prompt != prompt.strip() for prompt in prompts if prompt) == 131
    rows, notes = vscbench_tables.read_image_rows(path)
    assert any(note.startswith(f"{IMAGE}: ") and "(n=" in note for note in notes)
    assert list(Counter(row["Category"] for row in rows)) == [
        "drugs", "violence", "illegal_activity", "religion", "porngraphy", "discrimination",
    ]  # fmt: skip
    assert len({prompt for prompt in prompts if prompt}) == 259
    distinct = {
        name: len({row[1] for row in raw[:300] if row[0] == name and row[1]})
        for name in ("porngraphy", "discrimination")
    }
    assert distinct == {"porngraphy": 31, "discrimination": 32}  # without needless blanks: 29, 32
    endings = Counter(Path(str(name)).suffix for row in raw[:300] for name in row[2:8])
    assert endings == {".png": 1670, ".jpg": 114, ".jpeg": 10, ".webp": 6}
    other_names = {row["Category"] for row in rows if row["safe_img_0"].startswith("safe_img_")}
    assert other_names == {"illegal_activity", "religion", "porngraphy"}


@pytest.mark.skipif(not (REAL / TEXT).is_file(), reason="VSCBench's metadata is not available")
def test_the_oddities_of_the_real_text_centric_sheet() -> None:
    rows, _ = vscbench_tables.read_text_rows(REAL / TEXT)
    assert set(Counter(row["type"] for row in rows).values()) == {25}
    assert len({row["type"] for row in rows}) == 18
    assert "pinata" in rows[113]["prompt_origin"]
    assert all(row["figstep_img"].endswith("_fistep.png") for row in rows)
    raw = list(openpyxl.load_workbook(REAL / TEXT, read_only=True).worksheets[0].values)
    overwritten = raw[398][list(raw[0]).index("prompt_origin")]
    assert vscbench_tables.GENERIC in " ".join(overwritten.split())
    assert vscbench_tables.GENERIC not in rows[397]["prompt_origin"]
