"""VSCBench (arXiv 2505.20362): the user's copy of its metadata and pictures as examples.

Image-centric: one prompt with three safe and three unsafe pictures. Text-centric: XSTest's 450
prompts, as text only, or with the object moved into a picture (typography, search, concat), or
with the whole request in the picture (figstep).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calib.data.example import Benchmark, Example, Picture, split_of
from calib.data.images import picture_file
from calib.data.text_image import render_text
from calib.data.vscbench_tables import (
    SAFE_IMAGES,
    SOURCE,
    UNSAFE_IMAGES,
    WorkbookRow,
    numbers,
    read_image_rows,
    read_text_rows,
    repair_duplicates,
)
from calib.data.vscbench_twins import is_unsafe, twin_groups
from calib.util.errors import CalibError, did_you_mean

PARTS = ("image_centric", "text_centric")
VARIANTS = ("text_only", "typography", "search", "concat", "figstep")
SHARES = (0.3, 0.2)
"""Of the train and the validation split."""
RENDERED = {"typography": "object", "figstep": "prompt_figstep"}
"""Variants that calib can draw itself, and the column it draws."""
PICTURE_SIZE = 448
"""Width and height in pixels of the pictures that calib renders."""


def load(
    root: str | Path | None,
    parts: Sequence[str],
    variants: Sequence[str],
    figstep_query: str,
    system: str | None = None,
    shares: tuple[float, float] = SHARES,
    skip_missing: bool = False,
) -> Benchmark:
    """Read VSCBench from the folder ``root``.

    ``parts`` are of PARTS, ``variants`` (of the text-centric part) of VARIANTS; ``figstep_query``
    is what is asked beside a figstep picture, ``system`` the system prompt of all examples.
    ``shares`` are those of the train and validation split, drawn per group of twins;
    ``skip_missing`` leaves missing pictures to whoever opens them. In a text-centric group with two
    safe twins ``pairs`` takes the closer one.
    Raises CalibError for a missing or damaged workbook, missing pictures that calib cannot render
    itself, and unknown parts or variants.
    """
    folder = _folder(root)
    wanted = _choices("data.parts", parts, PARTS)
    examples: list[Example] = []
    notes: list[str] = []
    for part in wanted:
        if part == "image_centric":
            made, said = _image_centric(folder, system, shares, skip_missing)
        else:
            shown = _choices("data.variants", variants, VARIANTS)
            made, said = _text_centric(folder, shown, figstep_query, system, shares, skip_missing)
        if not made:
            raise CalibError(f"VSCBench in {folder}: no {part} example is left. {' '.join(said)}")
        examples += made
        notes += said
    return Benchmark(examples, notes)


def _image_centric(
    root: Path, system: str | None, shares: tuple[float, float], skip_missing: bool
) -> tuple[list[Example], list[str]]:
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
    if problem and not (skip_missing and present):
        raise CalibError(
            f"{problem} {SOURCE}; or leave image_centric out of data.parts. "
            f"About the sheet itself: {'; '.join(notes) or 'no defects'}."
        )
    if gaps := [row for row in rows if not all(row[column] for column in columns)]:
        notes.append(
            f"image_centric: rows with fewer than six pictures: Excel rows {numbers(gaps)}"
        )
    return [
        Example(
            id=f"image_centric/{row.number}/{column.replace('_img', '')}",
            dataset="image_centric",
            variant="photo",
            category=row["Category"],
            split=split_of(f"image_centric/{row.number}", *shares),
            query=row["Prompt"],
            picture=picture_file(
                folder, f"{row['Category']}/{row[column]}", f"Excel row {row.excel}"
            ),
            safety="safe" if column in SAFE_IMAGES else "unsafe",
            pair=f"image_centric/{row.number}",
            system=system,
        )
        for row in rows
        for column in columns
        if row[column]
    ], notes


def _text_centric(
    root: Path,
    names: Sequence[str],
    figstep_query: str,
    system: str | None,
    shares: tuple[float, float],
    skip_missing: bool,
) -> tuple[list[Example], list[str]]:
    if "figstep" in names and not figstep_query.strip():
        raise CalibError("data.figstep_query is empty. Say what is asked beside a figstep picture.")
    rows, notes = read_text_rows(root / "vscbench_text_centric.xlsx")
    variants = [_variant(name, root / "vscbench_text_centric_images" / name) for name in names]
    _refuse_without_pictures(variants, rows, skip_missing)
    groups, matched = twin_groups(rows)
    notes += matched
    for variant in variants:
        notes += variant.notes(rows)
    return [
        Example(
            id=f"text_centric/{variant.name}/{row.number}",
            dataset="text_centric",
            variant=variant.name,
            category=row["type"],
            split=split_of(f"text_centric/{group.id}", *shares),
            query=row[variant.query_column] if variant.query_column else figstep_query,
            picture=variant.picture(row),
            safety="unsafe" if is_unsafe(row) else "safe",
            pair=f"text_centric/{group.id}",
            # The paper's judge sees prompt_origin, whatever the model was shown.
            metadata={"object": row["object"], "request": row["prompt_origin"]},
            system=system,
        )
        for group in groups
        for variant in variants
        for row in group.rows
        if variant.has(row)
    ], notes


@dataclass(frozen=True)
class _Variant:
    """How a text-centric row is shown."""

    name: str
    query_column: str | None
    """None: the query is the same for all rows."""
    picture_column: str | None
    """A file name, or with ``folder`` None the text to render; None: no picture."""
    folder: Path | None

    def has(self, row: WorkbookRow) -> bool:
        return all(row[column] for column in (self.query_column, self.picture_column) if column)

    def picture(self, row: WorkbookRow) -> Picture | None:
        if self.picture_column is None:
            return None
        if self.folder is not None:
            return picture_file(self.folder, row[self.picture_column], f"Excel row {row.excel}")
        text = row[self.picture_column]
        if self.name == "figstep":
            text += "\n1.\n2.\n3."
        return partial(render_text, text, size=PICTURE_SIZE)

    def notes(self, rows: Sequence[WorkbookRow]) -> list[str]:
        notes = []
        if lacking := [row for row in rows if not self.has(row)]:
            needs = " or ".join(f"'{c}'" for c in (self.query_column, self.picture_column) if c)
            notes.append(
                f"text_centric {self.name}: rows with an empty {needs} were left out: "
                f"Excel rows {numbers(lacking)}"
            )
        if self.picture_column and self.folder is None:
            notes.append(
                f"text_centric {self.name}: pictures rendered by calib from column "
                f"'{self.picture_column}', since VSCBench's own are not there: "
                f"n={len(rows) - len(lacking)}"
            )
        return notes


def _variant(name: str, folder: Path) -> _Variant:
    if name == "text_only":
        return _Variant(name, "prompt_origin", None, None)
    query_column = None if name == "figstep" else "prompt_mm"
    if name in RENDERED and not folder.is_dir():
        return _Variant(name, query_column, RENDERED[name], None)
    return _Variant(name, query_column, f"{name}_img", folder)


def _refuse_without_pictures(
    variants: Sequence[_Variant], rows: Sequence[WorkbookRow], skip_missing: bool
) -> None:
    problems = []
    for variant in variants:
        if variant.picture_column and variant.folder:
            names = [row[variant.picture_column] for row in rows if row[variant.picture_column]]
            present = _names_in(variant.folder)
            problem = _missing(variant.name, names, present, variant.folder)
            if problem and not (skip_missing and present):
                problems.append(problem)
                if variant.name in RENDERED:
                    problems.append("(Without that folder calib renders these pictures itself.)")
    if problems:
        raise CalibError(
            f"{' '.join(problems)} {SOURCE}; or leave these variants out of data.variants."
        )


def _missing(what: str, names: Sequence[str], present: Collection[str], folder: Path) -> str:
    absent = [name for name in names if name not in present]
    if not absent:
        return ""
    first = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
    without = ", or go on without them: data.skip_broken=true" if present else ""
    gone = "" if folder.is_dir() else ", a folder that does not exist"
    return (
        f"VSCBench {what}: {len(absent)} of {len(names)} pictures are missing from "
        f"{folder}{gone}: {first}. Put them there{without}."
    )


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _folder(root: str | Path | None) -> Path:
    if root is None or not str(root).strip():
        raise CalibError(
            f"data.root is not set. {SOURCE}. Put vscbench_image_centric.xlsx and "
            "vscbench_text_centric.xlsx in one folder and name it: data.root=FOLDER."
        )
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise CalibError(
            f"data.root={root} is not a folder. Name the folder that holds VSCBench's .xlsx files. "
            f"{SOURCE}."
        )
    return folder


def _choices(key: str, given: Sequence[str], choices: Sequence[str]) -> list[str]:
    wanted = [given] if isinstance(given, str) else list(dict.fromkeys(given))
    if not wanted:
        raise CalibError(f"{key} is empty. Choose from: {', '.join(choices)}.")
    for name in wanted:
        if name not in choices:
            raise CalibError(
                f"{key}: there is no '{name}'.{did_you_mean(str(name), choices)} "
                f"Choose from: {', '.join(choices)}."
            )
    return wanted
