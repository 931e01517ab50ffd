"""Checks of the user's own rows: repeats, contradictions, the text "nan", pictures not shown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from calib.data.tables import TableRow, cell_prompt, cell_text
from calib.util.errors import CalibError

NAN = ("nan", "NaN", "<NA>")
"""Texts that pandas writes for an empty cell once its columns are texts."""
TEXTS = ("safety", "pair", "cluster", "category", "variant", "part", "split", "request", "id")
PROMPTS = ("query", "safe_query", "unsafe_query", "system")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def refuse_other_than_text(path: Path, rows: Sequence[TableRow]) -> None:
    """Raise CalibError for a list, an object, bytes or (in a prompt) a truth value in place of a
    text."""
    for number, row in enumerate(rows, start=1):
        for column in TEXTS:
            cell_text(row, column, f"{path}, row {number}")
        for column in PROMPTS:
            cell_prompt(row, column, f"{path}, row {number}")


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
    if len(numbers) == 1:
        return [
            f"{path.name}: 1 row repeats an earlier one (row {numbers[0]}); both are asked and "
            "counted"
        ]
    first = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return [
        f"{path.name}: {len(numbers)} rows repeat an earlier one (rows {first}); all are asked and "
        "counted"
    ]


def size_note(path: Path, count: int, unpaired: Sequence[tuple[str, str]]) -> str:
    """A note on the number of queries, and on those without a twin.

    ``unpaired`` has the location and the pair of each query without a twin; the pair is "" if none
    is stated. Those that state one come first, since their twin is probably misspelt.
    """
    note = f"{path.name}: {count} {'query' if count == 1 else 'queries'}"
    if not unpaired:
        return note
    first = sorted(unpaired, key=lambda found: not found[1])[:5]
    named = "; ".join(place + f", pair '{pair}'" * bool(pair) for place, pair in first)
    more = "; ..." * (len(unpaired) > len(first))
    scored = "it is" if len(unpaired) == 1 else "they are"
    return (
        f"{note}, {len(unpaired)} of them without a twin ({named}{more}): {scored} scored, but not "
        "used for fitting"
    )


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
