"""VLGuard's tables: the pictures with their labels and instructions, and repeated pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calib.data.audit.pictures import first_copies
from calib.data.audit.rows import size_note
from calib.data.images import PictureBytes, PictureFile
from calib.data.published.copies import Copy, archived_picture
from calib.data.tables import TableRow, cell_prompt, check_columns, read_table
from calib.util.errors import CalibError

COLUMNS = ("id", "image", "safe", "instr-resp")
OPTIONAL = ("harmful_category", "harmful_subcategory")
ROWS = {"train": 2000, "test": 1000}


@dataclass(frozen=True)
class PictureRow:
    """A picture of train.json or test.json (the ``part``), with its label and instructions."""

    part: str
    number: int
    """Index in its table, from 0."""
    safe: bool
    instructions: tuple[TableRow, ...]
    category: str
    image: str
    picture: PictureFile | PictureBytes

    def instruction(self, key: str) -> str:
        """The instruction with this key; "" if there is none."""
        return next((cell_prompt(i, key) for i in self.instructions if key in i), "")


def table_names(part: str) -> tuple[str, str]:
    """The paths of a part's table in a copy."""
    return f"{part}.json", f"data/{part}.json"


def read_part(copy: Copy, part: str) -> tuple[list[PictureRow], list[str]]:
    """The rows of train or test, and notes on the table.

    Raises CalibError for a missing file, column or value, and for a label that is neither true nor
    false. A picture that is missing is found when it is opened.
    """
    path = copy.file(*table_names(part))
    table = read_table(path)
    check_columns(table, COLUMNS, str(path), OPTIONAL)
    picture = _picture_opener(copy, part)
    rows = []
    for number, row in enumerate(table):
        where = f"{path}, row {number + 1}"
        image = cell_prompt(row, "image")
        rows.append(
            PictureRow(
                part,
                number,
                _label(row["safe"], where),
                _instructions(row["instr-resp"], where),
                cell_prompt(row, "harmful_category") or "none",
                image,
                picture(image, f"{where}, column 'image'"),
            )
        )
    return rows, size_note(len(rows), ROWS[part], str(path))


def first_rows(rows: Sequence[PictureRow]) -> list[PictureRow]:
    """For each row, the first row with the same picture, where those of test.json come first."""
    ordered = sorted(rows, key=lambda row: row.part != "test")
    by_picture: dict[PictureFile | PictureBytes, PictureRow] = {}
    for row in ordered:
        by_picture.setdefault(row.picture, row)
    copies = first_copies(row.picture for row in ordered)
    return [by_picture[copies[row.picture]] for row in rows]


def _label(value: object, where: str) -> bool:
    text = str(value).strip().casefold()
    if text not in ("true", "false"):
        raise CalibError("invalid-value", f"{where}: safe is {value!r}. Write true or false.")
    return text == "true"


def _instructions(value: object, where: str) -> tuple[TableRow, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise CalibError(
            "invalid-content",
            f"{where}: instr-resp is not a list of objects. Download the file again.",
        )
    return tuple(value)


def _picture_opener(copy: Copy, part: str) -> Callable[[str, str], PictureFile | PictureBytes]:
    """A function from an image's path and the location of that path to the picture."""
    folder = copy.subfolder(part, f"data/{part}", f"data/VLGuard/{part}")
    if folder is not None:
        return lambda image, where: copy.picture(folder, image, where)
    archive = copy.file(f"{part}.zip", f"data/{part}.zip")
    # With or without a top-level folder.
    return lambda image, _: archived_picture(archive, f"{part}/{image}", image)
