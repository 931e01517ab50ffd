"""Checks of the user's own rows: repeats, contradictions, the text "nan", pictures not shown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from calib.data.tables import TableRow
from calib.util.errors import CalibError

NAN = ("nan", "NaN", "<NA>")
"""Texts that pandas writes for an empty cell once its columns are texts."""
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def refuse_nan(path: Path, rows: Sequence[TableRow]) -> None:
    """Raise CalibError for a text "nan", which would join unrelated rows to a pair, or be asked."""
    columns = ("query", "safe_query", "unsafe_query", "pair", "cluster", "request", "system", "id")
    for number, row in enumerate(rows, start=1):
        for column in columns:
            value = row.get(column)
            if isinstance(value, str) and value.strip() in NAN:
                raise CalibError(
                    "invalid-value",
                    f"{path}, row {number}: column '{column}' is '{value.strip()}', which pandas "
                    "writes as text for an empty cell. Empty it.",
                )


def refuse_picture_column(path: Path, rows: Sequence[TableRow], unread: Sequence[str]) -> None:
    """Raise CalibError for an ``unread`` column of picture paths, in a table whose queries would
    then be asked without any picture."""
    for column in unread:
        texts = [str(row[column]).strip().lower() for row in rows if row.get(column)]
        if texts and all(text.endswith(PICTURE_ENDINGS) for text in texts):
            raise CalibError(
                "unknown-name",
                f"{path}: column '{column}' names pictures, but would not be read, and no query "
                "would have a picture. Rename it to 'image', or remove it.",
            )


def repeat_notes(path: Path, rows: Sequence[TableRow]) -> list[str]:
    """A note on the rows that repeat an earlier one in every column but id."""
    seen: set[int] = set()
    numbers = []
    for number, row in enumerate(rows, start=1):
        content = hash(repr([(name, row[name]) for name in sorted(row) if name != "id"]))
        if content in seen:
            numbers.append(number)
        seen.add(content)
    if not numbers:
        return []
    first = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return [
        f"{path.name}: rows that repeat an earlier one: {first} (n={len(numbers)}). Each is asked "
        "and counted."
    ]


def contradiction_notes(path: Path, asked: Iterable[tuple[str, str, str]]) -> list[str]:
    """A note on queries that are safe in one row and unsafe in another.

    ``asked`` has, per query, where it is stated, its safety, and what the model sees of it.
    """
    seen: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    for where, safety, content in asked:
        seen.setdefault(content, set()).add(safety)
        first.setdefault(content, where)
    both = [first[content] for content, sides in seen.items() if len(sides) > 1]
    if not both:
        return []
    return [
        f"{path.name}: queries that are safe in one row and unsafe in another, with the same text "
        f"and pictures: n={len(both)} (first: {both[0]}). One of the two labels must be wrong, and "
        "no direction separates them."
    ]
