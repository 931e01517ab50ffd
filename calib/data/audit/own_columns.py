"""The columns of the user's own table of pairs: those that are read, and those that are not."""

import re
from collections.abc import Sequence

from calib.config.choices import Safety
from calib.data.audit.own_rows import MORE_IMAGES, PICTURES, refuse_picture_column
from calib.data.tables import Table, TableRow, unread_columns
from calib.util.errors import CalibError

SIDES: tuple[Safety, Safety] = ("safe", "unsafe")
OPTIONAL = (
    "image", "pair", "cluster", "category", "variant", "part", "split", "request", "system",
    "history", "images", "id",
)  # fmt: skip
_QUERY = dict.fromkeys(("prompt", "question", "text"), "query")
OTHER_NAMES = {
    **_QUERY,
    "img": "image", "image_path": "image", "picture": "image", "photo": "image",
    "file_name": "image", "filename": "image", "pair_id": "pair", "group": "pair",
    "concept": "cluster",
    "safe_img": "safe_image", "unsafe_img": "unsafe_image", "system_prompt": "system",
    "pictures": "images", "conversation": "history", "conversations": "history",
}  # fmt: skip
"""Names under which other programs write a column, by the name that is read."""
OF_REQUIRED = {
    **_QUERY,
    "instruction": "query",
    **dict.fromkeys(("label", "labels", "safe", "is_safe"), "safety"),
}
"""Other names of the required columns. In a table with both twins in a row these may be columns of
any content, which are not read."""
NOT_READ = {"messages": "write the last message of the user as query, those before it as history"}
"""Columns that would change what the model sees, with what to write instead."""
_NUMBERED = re.compile(r"(safe_|unsafe_)?(image|img|picture|photo)[ _-]?[0-9]+")
OF_A_TWIN = ("query", "image", *MORE_IMAGES)
TWIN_COLUMNS = tuple(f"{side}_{name}" for name in OF_A_TWIN for side in SIDES)


def unread_notes(table: Table) -> list[str]:
    """A note on the columns that are not read; raises CalibError for those that the user must have
    meant to be read."""
    path, rows = table.path, table.rows
    columns = columns_of(rows)
    numbered = [name for name in (*MORE_IMAGES, *TWIN_COLUMNS) if name in columns]
    known = dict.fromkeys(("query", "safety", *OPTIONAL, *TWIN_COLUMNS[:4], *numbered))
    for column in sorted(columns - known.keys()):
        if _NUMBERED.fullmatch(column.lower()):
            raise CalibError(
                "unknown-name",
                f"{path}: column '{column}' would not be read. The pictures of a query are the "
                f"columns image, {MORE_IMAGES[0]}, {MORE_IMAGES[1]} ... to {MORE_IMAGES[-1]}, and "
                "those of one twin safe_image2, unsafe_image2 ... Rename it.",
            )
    unread = unread_columns(rows, list(known), OTHER_NAMES, str(path), "data.columns")
    for column in unread:
        if advice := NOT_READ.get(column.lower()):
            raise CalibError("unsupported", f"{path}: column '{column}' cannot be read: {advice}.")
    if columns.isdisjoint(("image", "images", *MORE_IMAGES, *TWIN_COLUMNS[2:])):
        refuse_picture_column(path, rows, unread)
    if not columns.isdisjoint(TWIN_COLUMNS):
        replaced = ["safety", *(name for name in OF_A_TWIN if f"safe_{name}" in columns)]
        unread += [name for name in replaced if any(row.get(name) for row in rows)]
    names = ", ".join(f"'{column}'" for column in unread)
    return [f"{path.name}: columns that are not read: {names}"] if unread else []


def refuse_pictures_on_sheet(table: Table) -> list[str]:
    """A note on pictures that lie on the sheet of a workbook, which are not read.

    Raises CalibError (unsupported) if no column names pictures and there are about as many as rows:
    the queries would be asked without them.
    """
    if not table.pictures:
        return []
    named = columns_of(table.rows) & {"images", *PICTURES}
    advice = "Save each as a file, and write its name into a column image"
    if not named and table.pictures >= len(table.rows) / 2:
        raise CalibError(
            "unsupported",
            f"{table.path}: its pictures lie on the sheet (n={table.pictures}), and calib reads "
            f"pictures from files only. {advice}. (In Excel: save a copy as .zip, and take them "
            "from its folder xl/media.)",
        )
    return [
        f"{table.path.name}: pictures on the sheet are not read (n={table.pictures}). {advice}, if "
        "they belong to queries"
    ]


def columns_of(rows: Sequence[TableRow]) -> set[str]:
    """The columns that any row has."""
    return {column for row in rows for column in row}
