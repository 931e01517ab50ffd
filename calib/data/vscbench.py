"""VSCBench (Geng et al., arXiv 2505.20362), from the user's copy of its workbooks and pictures.

Image-centric: 300 prompts, each with three safe and three unsafe pictures. Text-centric: XSTest's
450 prompts as plain text (text_only), with the object moved into a picture (typography, search,
concat), or with the complete request in the picture (figstep).

data.root is a folder with the workbooks vscbench_image_centric.xlsx and vscbench_text_centric.xlsx
and the picture folders vscbench_image_centric_images/CATEGORY and
vscbench_text_centric_images/VARIANT. Without the folders of typography and figstep calib renders
these pictures from the text. Rows with an empty cell that a variant requires are skipped, with a
note; calib.data.vscbench_tables lists the repaired defects.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calib.config.checks import some_of
from calib.config.data import VscbenchData
from calib.data.example import Benchmark, Example, Picture
from calib.data.images import picture_file
from calib.data.splits import split_of
from calib.data.text_image import render_text
from calib.data.vscbench_tables import (
    SAFE_IMAGES,
    SOURCE,
    UNSAFE_IMAGES,
    WorkbookRow,
    format_row_numbers,
    read_image_rows,
    read_text_rows,
    repair_duplicates,
)
from calib.data.vscbench_twins import is_unsafe, twin_groups
from calib.util.errors import CalibError
from calib.util.files import home_expanded

PARTS = ("image_centric", "text_centric")
VARIANTS = ("text_only", "typography", "search", "concat", "figstep")
RENDERED = {"typography": "object", "figstep": "prompt_figstep"}
"""Variants that calib can render, and the column that holds the text."""
PICTURE_SIZE = 448
"""Width and height of rendered pictures, in pixels."""


def load(config: VscbenchData) -> Benchmark:
    """The examples of ``config.parts``, with twins adjacent.

    Splits are drawn per group of twins. In a text-centric group with two safe twins ``pairs`` uses
    the closer one. With ``config.skip_broken`` missing pictures are not checked here.
    Raises CalibError for a missing or damaged workbook, missing pictures that calib cannot render,
    and unknown parts or variants.
    """
    folder = _folder(config.root)
    examples: list[Example] = []
    notes: list[str] = []
    for part in some_of("data.parts", config.parts, PARTS):
        read = _image_centric if part == "image_centric" else _text_centric
        part_examples, part_notes = read(folder, config)
        if not part_examples:
            raise CalibError(
                "too-few",
                f"VSCBench in {folder} has no usable {part} example: {'; '.join(part_notes)}. "
                f"Download the workbook again, or remove {part} from data.parts.",
            )
        examples += part_examples
        notes += part_notes
    return Benchmark(examples, notes)


def _image_centric(root: Path, config: VscbenchData) -> tuple[list[Example], list[str]]:
    rows, notes = read_image_rows(root / "vscbench_image_centric.xlsx")
    folder = root / "vscbench_image_centric_images"
    present = {f"{name}/{file}" for name in _names_in(folder) for file in _names_in(folder / name)}
    rows, repairs = repair_duplicates(rows, present)
    notes += repairs
    columns = (*SAFE_IMAGES, *UNSAFE_IMAGES)
    names = [
        f"{row['Category']}/{row[column]}" for row in rows for column in columns if row[column]
    ]
    problem = _missing("image_centric", names, present, folder)
    if problem and not (config.skip_broken and present):
        raise CalibError(
            "not-found",
            f"{problem} {SOURCE}; or remove image_centric from data.parts. "
            f"Notes on the workbook: {'; '.join(notes) or 'no defects'}.",
        )
    if incomplete := [row for row in rows if not all(row[column] for column in columns)]:
        notes.append(
            "image_centric: rows with fewer than six pictures: Excel rows "
            f"{format_row_numbers(incomplete)}"
        )
    return [
        Example(
            id=f"image_centric/{row.number}/{column.replace('_img', '')}",
            dataset="image_centric",
            variant="photo",
            category=row["Category"],
            split=split_of(f"image_centric/{row.number}", config.train, config.validation),
            query=row["Prompt"],
            picture=picture_file(
                folder, f"{row['Category']}/{row[column]}", f"Excel row {row.excel_number}"
            ),
            safety="safe" if column in SAFE_IMAGES else "unsafe",
            pair=f"image_centric/{row.number}",
            system=config.system,
        )
        for row in rows
        for column in columns
        if row[column]
    ], notes


def _text_centric(root: Path, config: VscbenchData) -> tuple[list[Example], list[str]]:
    names = some_of("data.variants", config.variants, VARIANTS)
    if "figstep" in names and not config.figstep_query.strip():
        raise CalibError(
            "missing-setting",
            "data.figstep_query is empty. Give the query that accompanies a figstep picture.",
        )
    rows, notes = read_text_rows(root / "vscbench_text_centric.xlsx")
    variants = [_variant(name, root / "vscbench_text_centric_images" / name) for name in names]
    _check_picture_folders(variants, rows, config.skip_broken)
    groups, twin_notes = twin_groups(rows)
    notes += twin_notes
    for variant in variants:
        notes += variant.notes(rows)
    return [
        Example(
            id=f"text_centric/{variant.name}/{row.number}",
            dataset="text_centric",
            variant=variant.name,
            category=row["type"],
            split=split_of(f"text_centric/{group.id}", config.train, config.validation),
            query=row[variant.query_column] if variant.query_column else config.figstep_query,
            picture=variant.picture(row),
            safety="unsafe" if is_unsafe(row) else "safe",
            pair=f"text_centric/{group.id}",
            concept=group.focus,
            # The paper's judge sees prompt_origin in every variant.
            metadata={"object": row["object"], "request": row["prompt_origin"]},
            system=config.system,
        )
        for group in groups
        for variant in variants
        for row in group.rows
        if variant.applies_to(row)
    ], notes


@dataclass(frozen=True)
class _Variant:
    """A presentation of text-centric rows."""

    name: str
    query_column: str | None
    """None: all rows have the same query."""
    picture_column: str | None
    """Column with a file name, or with the text to render if ``folder`` is None. None: no picture.
    """
    folder: Path | None

    def applies_to(self, row: WorkbookRow) -> bool:
        return all(row[column] for column in (self.query_column, self.picture_column) if column)

    def picture(self, row: WorkbookRow) -> Picture | None:
        if self.picture_column is None:
            return None
        if self.folder is not None:
            where = f"Excel row {row.excel_number}"
            return picture_file(self.folder, row[self.picture_column], where)
        text = row[self.picture_column]
        if self.name == "figstep":
            text += "\n1.\n2.\n3."
        return partial(render_text, text, size=PICTURE_SIZE)

    def notes(self, rows: Sequence[WorkbookRow]) -> list[str]:
        notes = []
        if skipped := [row for row in rows if not self.applies_to(row)]:
            columns = " or ".join(f"'{c}'" for c in (self.query_column, self.picture_column) if c)
            notes.append(
                f"text_centric {self.name}: skipped rows with an empty {columns}: "
                f"Excel rows {format_row_numbers(skipped)}"
            )
        if self.picture_column and self.folder is None:
            notes.append(
                f"text_centric {self.name}: pictures rendered by calib from column "
                f"'{self.picture_column}', because VSCBench's own were not found: "
                f"n={len(rows) - len(skipped)}"
            )
        return notes


def _variant(name: str, folder: Path) -> _Variant:
    if name == "text_only":
        return _Variant(name, "prompt_origin", None, None)
    query_column = None if name == "figstep" else "prompt_mm"
    if name in RENDERED and not folder.is_dir():
        return _Variant(name, query_column, RENDERED[name], None)
    return _Variant(name, query_column, f"{name}_img", folder)


def _check_picture_folders(
    variants: Sequence[_Variant], rows: Sequence[WorkbookRow], skip_broken: bool
) -> None:
    problems = []
    for variant in variants:
        if variant.picture_column and variant.folder:
            names = [row[variant.picture_column] for row in rows if row[variant.picture_column]]
            present = _names_in(variant.folder)
            problem = _missing(variant.name, names, present, variant.folder)
            if problem and not (skip_broken and present):
                problems.append(problem)
                if variant.name in RENDERED:
                    problems.append("(Without that folder calib renders these pictures itself.)")
    if problems:
        raise CalibError(
            "not-found",
            f"{' '.join(problems)} {SOURCE}; or remove these variants from data.variants.",
        )


def _missing(label: str, names: Sequence[str], present: Collection[str], folder: Path) -> str:
    absent = [name for name in names if name not in present]
    if not absent:
        return ""
    first = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
    skip = ", or skip them with data.skip_broken=true" if present else ""
    no_folder = "" if folder.is_dir() else ", a folder that does not exist"
    return (
        f"VSCBench {label}: {len(absent)} of {len(names)} pictures are missing from "
        f"{folder}{no_folder}: {first}. Put them there{skip}."
    )


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _folder(root: str | None) -> Path:
    if root is None or not root.strip():
        raise CalibError(
            "missing-setting",
            f"data.root is not set. {SOURCE}. Put vscbench_image_centric.xlsx and "
            "vscbench_text_centric.xlsx in one folder and give its path: data.root=FOLDER.",
        )
    folder = home_expanded(root)
    if not folder.is_dir():
        raise CalibError(
            "not-found",
            f"data.root={root} is not a folder. Give the folder with VSCBench's .xlsx files. "
            f"{SOURCE}.",
        )
    return folder
