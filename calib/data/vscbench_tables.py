"""VSCBench's two metadata workbooks (arXiv 2505.20362) as rows of text, their defects handled.

Everything that was put right or left out is said in a note: one plain sentence with its count.
"""

import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import openpyxl

from calib.util.errors import CalibError, did_you_mean

SOURCE = (
    "calib does not ship VSCBench, which has no licence: get it from the repository of its paper "
    "(arXiv 2505.20362), whose README links the pictures"
)
SAFE_IMAGES = ("safe_img_0", "safe_img_1", "safe_img_2")
UNSAFE_IMAGES = ("unsafe_img_0", "unsafe_img_1", "unsafe_img_2")
IMAGE_COLUMNS = ("Category", "Prompt", *SAFE_IMAGES, *UNSAFE_IMAGES)
TEXT_FILES = ("search_img", "typography_img", "concat_img", "figstep_img")
TEXT_COLUMNS = (
    *("type", "focus", "prompt_origin", "prompt_mm", "object", "prompt_figstep"),
    *TEXT_FILES,
)
IMAGE_ROWS = 300
TEXT_ROWS = 450

GENERIC = "the content in the image"
"""What prompt_mm says instead of the object that its picture shows."""

MAX_BYTES = 64 * 2**20
MAX_ROWS = 10_000


@dataclass(frozen=True)
class WorkbookRow:
    """One row of a sheet: the text of each column, "" where the cell is empty."""

    number: int
    """From 0 for the first row under the header (in the text-centric sheet: XSTest's order)."""
    cells: Mapping[str, str]

    @property
    def excel(self) -> int:
        """The number that a spreadsheet shows beside the row."""
        return self.number + 2

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def with_cells(self, changed: Mapping[str, str]) -> "WorkbookRow":
        return replace(self, cells={**self.cells, **changed})


def read_text_rows(path: Path) -> tuple[list[WorkbookRow], list[str]]:
    """The rows of the text-centric workbook that have a type, and notes on what was done.

    Raises CalibError for a missing or unreadable workbook, a missing column, or a picture's name
    that is more than a file name.
    """
    rows, notes = _read_table(path, TEXT_COLUMNS, TEXT_FILES)
    notes += _count_note(path, rows, TEXT_ROWS)
    rows = _drop_without("type", path, rows, notes)
    repaired = [_name_the_object(row) for row in rows]
    if changed := [new for old, new in zip(rows, repaired, strict=True) if new != old]:
        notes.append(
            f"{path.name}: '{GENERIC}' stood in a prompt that is asked without the picture and "
            f"was replaced by column 'object': Excel rows {numbers(changed)}"
        )
    return repaired, notes


def read_image_rows(path: Path) -> tuple[list[WorkbookRow], list[str]]:
    """The rows of the image-centric workbook with category and prompt, and notes on the rest.

    Raises CalibError as ``read_text_rows`` does.
    """
    files = (*SAFE_IMAGES, *UNSAFE_IMAGES)
    rows, notes = _read_table(path, IMAGE_COLUMNS, ("Category", *files))
    notes += _count_note(path, rows, IMAGE_ROWS)
    rows = _drop_without("Category", path, rows, notes)
    return _drop_without("Prompt", path, rows, notes), notes


def repair_duplicates(
    rows: Sequence[WorkbookRow], present: Collection[str]
) -> tuple[list[WorkbookRow], list[str]]:
    """Put right rows of the image-centric sheet that name one file twice.

    The column that disagrees with the number at the end of the name gets the file of its own
    number where ``present`` ("category/file", what the picture folder holds) has it; otherwise
    that picture is left out. Returns the rows and a note for each change.
    """
    repaired, notes = [], []
    for row in rows:
        for column in _columns_in_error(row):
            name = _sibling(row, column, present)
            done = f"replaced by {name}" if name else "left out"
            notes.append(
                f"image_centric: Excel row {row.excel} names {row[column]} twice; "
                f"the one in column '{column}' was {done}"
            )
            row = row.with_cells({column: name})
        repaired.append(row)
    return repaired, notes


def numbers(rows: Iterable[WorkbookRow]) -> str:
    """The Excel numbers of rows, the first ten spelt out, and how many there are."""
    excel = [row.excel for row in rows]
    shown = ", ".join(map(str, excel[:10])) + (", ..." if len(excel) > 10 else "")
    return f"{shown} (n={len(excel)})"


def _read_table(
    path: Path, columns: Sequence[str], files: Collection[str]
) -> tuple[list[WorkbookRow], list[str]]:
    sheet, table = _read_sheet(path)
    places = _places(path, sheet, columns, table[0] if table else ())
    rows, tidied = [], 0
    for number, values in enumerate(table[1:]):
        raw = {column: values[at] if at < len(values) else "" for column, at in places.items()}
        cells = {
            column: text.strip() if column in files else " ".join(text.split())
            for column, text in raw.items()
        }
        if any(cells.values()):  # Rows that only carry formatting are no rows.
            rows.append(WorkbookRow(number, cells))
            tidied += sum(cells[column] != raw[column] for column in columns)
            _refuse_paths(path, rows[-1], files)
    if not rows:
        raise CalibError(f"Sheet '{sheet}' of {path} has no rows under its header. {SOURCE}.")
    note = f"{path.name}: needless blanks were removed from cells (n={tidied})"
    return rows, [note] if tidied else []


def _read_sheet(path: Path) -> tuple[str, list[list[str]]]:
    if not path.is_file():
        raise CalibError(f"{path} is missing. {SOURCE}; put the file there or correct data.root.")
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MAX_BYTES:
                raise CalibError(
                    f"{path} unpacks to {unpacked:,} bytes; at most {MAX_BYTES:,} are read. "
                    "Save it without whatever was added to it."
                )
            with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
                sheet = book.worksheets[0]
                # Some programs write a wrong size of the sheet; the cells themselves decide.
                sheet.reset_dimensions()
                lines = islice(sheet.iter_rows(values_only=True), MAX_ROWS + 1)
                table = [["" if cell is None else str(cell) for cell in line] for line in lines]
    except CalibError:
        raise
    except Exception as error:  # openpyxl lets nearly anything through from a damaged file.
        raise CalibError(
            f"{path} cannot be read as an Excel workbook (.xlsx): {error or type(error).__name__}. "
            f"Fetch the file again. {SOURCE}."
        ) from error
    if len(table) > MAX_ROWS:
        raise CalibError(f"{path} has over {MAX_ROWS:,} rows: this is not VSCBench. {SOURCE}.")
    return sheet.title, table


def _places(
    path: Path, sheet: str, columns: Sequence[str], header: Sequence[str]
) -> dict[str, int]:
    found = [name.strip() for name in header]
    for column in columns:
        if column not in found:
            there = ", ".join(f"'{name}'" for name in found if name) or "none"
            raise CalibError(
                f"Sheet '{sheet}' of {path} has no column '{column}'."
                f"{did_you_mean(column, filter(None, found))} Its columns are: {there}. "
                "Name the column as VSCBench does or fetch the file again."
            )
        if found.count(column) > 1:
            raise CalibError(
                f"Sheet '{sheet}' of {path} has column '{column}' {found.count(column)} times. "
                "Keep one of them."
            )
    return {column: found.index(column) for column in columns}


def _refuse_paths(path: Path, row: WorkbookRow, files: Iterable[str]) -> None:
    for column in files:
        name = row[column]
        # Joined to data.root, anything but a plain name could lead out of it.
        if name == "." or ".." in name or re.search(r"[/\\:]", name) or not name.isprintable():
            raise CalibError(
                f"{path}, Excel row {row.excel}, column '{column}': {name!r} is not a plain name. "
                "Write the bare name, without folders, '..' or a drive."
            )


def _count_note(path: Path, rows: Sequence[WorkbookRow], expected: int) -> Iterator[str]:
    if len(rows) != expected:
        yield f"{path.name}: has {len(rows)} rows where VSCBench has {expected}"


def _drop_without(
    column: str, path: Path, rows: list[WorkbookRow], notes: list[str]
) -> list[WorkbookRow]:
    if empty := [row for row in rows if not row[column]]:
        notes.append(
            f"{path.name}: rows with an empty '{column}' were dropped: Excel rows {numbers(empty)}"
        )
    return [row for row in rows if row[column]]


def _name_the_object(row: WorkbookRow) -> WorkbookRow:
    # In the released sheet the text-only prompt of XSTest 397 was overwritten by its prompt_mm.
    # Without an object the prompt cannot be mended: it becomes empty and its examples are dropped.
    return row.with_cells(
        {
            column: re.sub(GENERIC, lambda _: row["object"], row[column], flags=re.IGNORECASE)
            if row["object"] or GENERIC not in row[column].lower()
            else ""
            for column in ("prompt_origin", "prompt_figstep")
        }
    )


def _columns_in_error(row: WorkbookRow) -> list[str]:
    files = (*SAFE_IMAGES, *UNSAFE_IMAGES)
    uses = Counter(row[column] for column in files if row[column])
    wrong = []
    for name in (name for name, count in uses.items() if count > 1):
        named = [column for column in files if row[column] == name]
        right = next((column for column in named if _agrees(column, name)), named[0])
        wrong += [column for column in named if column != right]
    return wrong


def _agrees(column: str, name: str) -> bool:
    side, _, index = column.split("_")
    return name.startswith(f"{side}_") and Path(name).stem.endswith(f"_{index}")


def _sibling(row: WorkbookRow, column: str, present: Collection[str]) -> str:
    side, _, index = column.split("_")
    stem = re.sub(r"_\d+$", f"_{index}", Path(row[column]).stem)
    if not stem.startswith(f"{side}_"):
        return ""
    taken = set(row.cells.values())
    for suffix in (Path(row[column]).suffix, ".png", ".jpg", ".jpeg", ".webp"):
        name = f"{stem}{suffix}"
        if f"{row['Category']}/{name}" in present and name not in taken:
            return name
    return ""
