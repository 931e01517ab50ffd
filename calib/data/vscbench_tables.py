"""VSCBench's two metadata workbooks (Geng et al., arXiv 2505.20362) as repaired rows of text.

Defects that are repaired or skipped, each with a note and its count: an unexpected number of rows,
needless blanks, rows without a type, category or prompt, a prompt overwritten by that of another
column, and a picture that a row names twice.
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

from calib.util.content import in_place_of
from calib.util.errors import CalibError, did_you_mean

SOURCE = (
    "calib does not ship VSCBench, because it has no licence: download it from the repository of "
    "its paper (arXiv 2505.20362), whose README links the pictures"
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
"""The phrase that replaces the depicted object in prompt_mm."""

MAX_BYTES = 64 * 2**20
MAX_ROWS = 10_000
MAX_COLUMNS = 256
"""Further columns are not read: a cell in the last one that Excel has makes a row of 16,384."""


@dataclass(frozen=True)
class WorkbookRow:
    """One row of a sheet: the text of each column, "" where the cell is empty."""

    number: int
    """Index below the header, from 0 (in the text-centric workbook: XSTest's order)."""
    cells: Mapping[str, str]

    @property
    def excel_number(self) -> int:
        """The row number that spreadsheet programs display."""
        return self.number + 2

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def with_cells(self, changes: Mapping[str, str]) -> "WorkbookRow":
        return replace(self, cells={**self.cells, **changes})


def read_text_rows(path: Path) -> tuple[list[WorkbookRow], list[str]]:
    """The rows of the text-centric workbook that have a type, and notes on repaired defects.

    Raises CalibError for a missing or unreadable workbook, a missing column, or a cell with a path
    where a plain file name is expected.
    """
    rows, notes = _read_table(path, TEXT_COLUMNS, TEXT_FILES)
    notes += _count_note(path, rows, TEXT_ROWS)
    rows = _drop_without("type", path, rows, notes)
    repaired = [_insert_object(row) for row in rows]
    if changed := [new for old, new in zip(rows, repaired, strict=True) if new != old]:
        notes.append(
            f"{path.name}: replaced '{GENERIC}' by column 'object' in prompts without a picture: "
            f"Excel rows {format_row_numbers(changed)}"
        )
    return repaired, notes


def read_image_rows(path: Path) -> tuple[list[WorkbookRow], list[str]]:
    """The rows of the image-centric workbook with category and prompt, and notes on the others.

    Raises CalibError in the same cases as ``read_text_rows``.
    """
    files = (*SAFE_IMAGES, *UNSAFE_IMAGES)
    rows, notes = _read_table(path, IMAGE_COLUMNS, ("Category", *files))
    notes += _count_note(path, rows, IMAGE_ROWS)
    rows = _drop_without("Category", path, rows, notes)
    return _drop_without("Prompt", path, rows, notes), notes


def repair_duplicates(
    rows: Sequence[WorkbookRow], present: Collection[str]
) -> tuple[list[WorkbookRow], list[str]]:
    """Repair image-centric rows that name the same picture file twice.

    The column that disagrees with the number at the end of the file name gets the file with its own
    number if it is in ``present`` (the picture folder's contents as "category/file"); otherwise its
    cell becomes empty and the picture is skipped. Returns the rows and a note for each change.
    """
    repaired, notes = [], []
    for row in rows:
        for column in _columns_in_error(row):
            name = _sibling(row, column, present)
            repair = f"replaced by {name}" if name else "skipped"
            notes.append(
                f"image_centric: Excel row {row.excel_number} names {row[column]} twice; "
                f"in column '{column}' it was {repair}"
            )
            row = row.with_cells({column: name})
        repaired.append(row)
    return repaired, notes


def format_row_numbers(rows: Iterable[WorkbookRow]) -> str:
    """The first ten Excel row numbers and the count, e.g. "3, 5 (n=2)"."""
    numbers = [row.excel_number for row in rows]
    shown = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return f"{shown} (n={len(numbers)})"


def _read_table(
    path: Path, columns: Sequence[str], files: Collection[str]
) -> tuple[list[WorkbookRow], list[str]]:
    sheet, table = _read_sheet(path)
    indices = _column_indices(path, sheet, columns, table[0] if table else ())
    rows, tidied = [], 0
    for number, values in enumerate(table[1:]):
        raw = {column: values[k] if k < len(values) else "" for column, k in indices.items()}
        cells = {
            column: text.strip() if column in files else " ".join(text.split())
            for column, text in raw.items()
        }
        if any(cells.values()):  # Rows with formatting only are not data.
            rows.append(WorkbookRow(number, cells))
            tidied += sum(cells[column] != raw[column] for column in columns)
            _check_file_names(path, rows[-1], files)
    if not rows:
        raise CalibError(
            "too-few", f"Sheet '{sheet}' of {path} has no rows below its header. {SOURCE}."
        )
    note = f"{path.name}: removed needless blanks from cells (n={tidied})"
    return rows, [note] if tidied else []


def _read_sheet(path: Path) -> tuple[str, list[list[str]]]:
    if not path.is_file():
        raise CalibError(
            "not-found", f"{path} does not exist. {SOURCE}; put it there or correct data.root."
        )
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > MAX_BYTES:
                raise CalibError(
                    "too-large",
                    f"{path} unpacks to {unpacked:,} bytes; the limit is {MAX_BYTES:,}. "
                    "Remove any additions and save it again.",
                )
            with closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
                sheet = book.worksheets[0]
                # Some programs write wrong sheet dimensions; reset them to read every cell.
                sheet.reset_dimensions()
                cells = sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS)
                lines = islice(cells, MAX_ROWS + 1)
                table = [["" if cell is None else str(cell) for cell in line] for line in lines]
    except CalibError:
        raise
    except Exception as error:  # openpyxl raises many exception types on damaged files.
        raise CalibError(
            "unreadable",
            f"{path} cannot be read as an Excel workbook (.xlsx): "
            f"{in_place_of(path, b'PK', error)}. Download the file again. {SOURCE}.",
        ) from error
    if len(table) > MAX_ROWS:
        raise CalibError(
            "too-large",
            f"{path} has more than {MAX_ROWS:,} rows, so it is not VSCBench. {SOURCE}.",
        )
    return sheet.title, table


def _column_indices(
    path: Path, sheet: str, columns: Sequence[str], header: Sequence[str]
) -> dict[str, int]:
    names = [name.strip() for name in header]
    for column in columns:
        if column not in names:
            listed = ", ".join(f"'{name}'" for name in names if name) or "none"
            raise CalibError(
                "missing-column",
                f"Sheet '{sheet}' of {path} has no column '{column}'."
                f"{did_you_mean(column, filter(None, names))} Its columns are: {listed}. "
                "Rename the column as in VSCBench or download the file again.",
            )
        if names.count(column) > 1:
            raise CalibError(
                "duplicate",
                f"Sheet '{sheet}' of {path} has column '{column}' {names.count(column)} times. "
                "Delete all but one.",
            )
    return {column: names.index(column) for column in columns}


def _check_file_names(path: Path, row: WorkbookRow, files: Iterable[str]) -> None:
    for column in files:
        name = row[column]
        # Anything but a plain name, joined to data.root, could lead out of that folder.
        if name == "." or ".." in name or re.search(r"[/\\:]", name) or not name.isprintable():
            raise CalibError(
                "invalid-value",
                f"{path}, Excel row {row.excel_number}, column '{column}': {name!r} is not a plain "
                "name. Write the name only, without folders, '..' or a drive letter.",
            )


def _count_note(path: Path, rows: Sequence[WorkbookRow], expected: int) -> Iterator[str]:
    if len(rows) != expected:
        yield f"{path.name}: has {len(rows)} rows, whereas VSCBench has {expected}"


def _drop_without(
    column: str, path: Path, rows: list[WorkbookRow], notes: list[str]
) -> list[WorkbookRow]:
    if empty := [row for row in rows if not row[column]]:
        notes.append(
            f"{path.name}: skipped rows with an empty '{column}': Excel rows "
            f"{format_row_numbers(empty)}"
        )
    return [row for row in rows if row[column]]


def _insert_object(row: WorkbookRow) -> WorkbookRow:
    # In the released workbook the text-only prompt of XSTest 397 was overwritten by its prompt_mm.
    # Without an object it cannot be repaired: the prompt becomes empty and its row is skipped.
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
        columns = [column for column in files if row[column] == name]
        right = next((column for column in columns if _agrees(column, name)), columns[0])
        wrong += [column for column in columns if column != right]
    return wrong


def _agrees(column: str, name: str) -> bool:
    side, _, index = column.split("_")
    return name.startswith(f"{side}_") and Path(name).stem.endswith(f"_{index}")


def _sibling(row: WorkbookRow, column: str, present: Collection[str]) -> str:
    side, _, index = column.split("_")
    stem = re.sub(r"_\d+$", f"_{index}", Path(row[column]).stem)
    if not stem.startswith(f"{side}_"):
        return ""
    in_use = set(row.cells.values())
    for suffix in (Path(row[column]).suffix, ".png", ".jpg", ".jpeg", ".webp"):
        name = f"{stem}{suffix}"
        if f"{row['Category']}/{name}" in present and name not in in_use:
            return name
    return ""
