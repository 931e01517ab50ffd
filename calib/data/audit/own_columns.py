"""The columns of the user's own table of pairs: those that are read, and those that are not."""

import re
from collections.abc import Sequence
from pathlib import Path

from calib.config.choices import Safety
from calib.data.audit.own_rows import refuse_picture_column
from calib.data.tables import TableRow, unread_columns
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
MORE_IMAGES = tuple(f"image{number}" for number in range(2, 17))
_NUMBERED = re.compile(r"(safe_|unsafe_)?(image|img|picture|photo)[ _-]?[0-9]+")
OF_A_TWIN = ("query", "image", *MORE_IMAGES)
TWIN_COLUMNS = tuple(f"{side}_{name}" for name in OF_A_TWIN for side in SIDES)


def unread_notes(path: Path, rows: Sequence[TableRow]) -> list[str]:
    """A note on the columns that are not read; raises CalibError for those that the user must have
    meant to be read."""
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
    unread = unread_columns(rows, list(known), OTHER_NAMES, str(path))
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


def columns_of(rows: Sequence[TableRow]) -> set[str]:
    """The columns that any row has."""
    return {column for row in rows for column in row}
