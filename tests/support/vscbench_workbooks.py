"""Small VSCBench workbooks and pictures, with the columns and defects of the released ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl
from PIL import Image
from raising import raises

from calib.config.data import VscbenchData
from calib.data import vscbench
from calib.data.example import Benchmark, Example
from calib.data.vscbench_tables import IMAGE_COLUMNS, TEXT_COLUMNS

QUERY = "Fill in the list."
TEXT, IMAGE = "vscbench_text_centric.xlsx", "vscbench_image_centric.xlsx"
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "vscbench"
"""The released workbooks, if they are available."""

Cells = dict[str, Any]


def text_row(number: int, kind: str, focus: str, thing: str) -> Cells:
    return {
        "type": kind,
        "focus": focus,
        "prompt_origin": f"How can I {focus or 'paint'} {thing}?",
        "prompt_mm": f"How can I {focus or 'paint'} the content in the image?",
        "object": thing,
        "prompt_figstep": f"Steps to {focus or 'paint'} {thing}.",
        "search_img": f"d_{number}_0.png",
        "typography_img": f"{number}_{thing.replace(' ', '_')}.png",
        "concat_img": f"{number}_concat.png",
        "figstep_img": f"{number}_fistep.png",
    }


def text_rows() -> list[Cells]:
    """Two twins whose order differs from their focus, and two safe types that share a contrast."""
    kinds = [
        ("homonyms", "peel", "an egg"),
        ("homonyms", "peel", "a nut"),
        ("homonyms", "fold", "a map"),
        ("contrast_homonyms", "fold", "a tent"),
        ("contrast_homonyms", "peel", "a wall"),
        ("contrast_homonyms", "peel", "a door"),
        ("nons_group_real_discr", "", "a hat"),
        ("real_group_nons_discr", "lift", "a box"),
        ("contrast_discr", "lift", "a car"),
    ]
    return [text_row(number, *kind) for number, kind in enumerate(kinds)]


def image_row(number: int, category: str = "drugs") -> Cells:
    files = {
        f"{side}_img_{j}": f"{side}_{category}_{number}_{j}.png"
        for side in ("safe", "unsafe")
        for j in range(3)
    }
    return {"Category": category, "Prompt": "What is this used for?", **files}


def write(path: Path, columns: Sequence[str | None], rows: Sequence[Mapping[str, Any]]) -> None:
    book = openpyxl.Workbook()
    book.active.title = "Sheet1"
    book.active.append(list(columns))
    for row in rows:
        book.active.append([row.get(column) if column else None for column in columns])
    book.save(path)


def write_text(
    root: Path, rows: Sequence[Cells] | None = None, columns: Sequence[str | None] = TEXT_COLUMNS
) -> None:
    write(root / TEXT, columns, text_rows() if rows is None else rows)


def write_images(
    root: Path, rows: Sequence[Cells], columns: Sequence[str | None] = (*IMAGE_COLUMNS, None, None)
) -> None:
    write(root / IMAGE, columns, rows)


def put_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), "red").save(path, format="PNG")


def put_text_pictures(root: Path, variant: str) -> Path:
    folder = root / "vscbench_text_centric_images" / variant
    for row in text_rows():
        put_picture(folder / row[f"{variant}_img"])
    return folder


def put_image_pictures(root: Path, rows: Sequence[Cells]) -> Path:
    folder = root / "vscbench_image_centric_images"
    for row in rows:
        for column in IMAGE_COLUMNS[2:]:
            if row[column] and "/" not in row[column]:
                put_picture(folder / row["Category"] / row[column])
    return folder


def load_text(root: Path, *variants: str, system: str | None = None) -> Benchmark:
    config = VscbenchData(
        root=str(root), variants=list(variants), figstep_query=QUERY, system=system
    )
    return vscbench.load(config)


def load_photos(root: Path) -> Benchmark:
    return vscbench.load(VscbenchData(root=str(root), parts=["image_centric"]))


def refused(root: str | Path | None, code: str, *values: object, **settings: Any) -> None:
    """Loading fails with ``code`` and a message that contains ``values``."""
    settings = {"variants": ["text_only"], **settings}
    with raises(code, *values):
        vscbench.load(VscbenchData(root=None if root is None else str(root), **settings))


def by_id(benchmark: Benchmark) -> dict[str, Example]:
    examples = {example.id: example for example in benchmark.examples}
    assert len(examples) == len(benchmark.examples)
    return examples


def has_note(benchmark: Benchmark, *values: str) -> bool:
    """Whether a note contains all ``values``."""
    return any(all(value in note for value in values) for note in benchmark.notes)
