"""Checks of the user's own rows: repeats, contradictions, the text "nan", pictures not shown."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from calib.data.formats.sheet_cells import CELL_FAULTS
from calib.data.own.faults import Faults
from calib.data.tables import Table, TableRow, cell_prompt, cell_text
from calib.util.errors import CalibError
from calib.util.listing import shortened

NAN = ("nan", "NaN", "<NA>")
"""Texts that pandas writes for an empty cell once its columns are texts."""
TEXTS = ("safety", "pair", "cluster", "category", "variant", "part", "split", "request", "id")
PROMPTS = ("query", "safe_query", "unsafe_query", "system")
MORE_IMAGES = tuple(f"image{number}" for number in range(2, 17))
PICTURES = tuple(
    f"{side}{name}" for name in ("image", *MORE_IMAGES) for side in ("", "safe_", "unsafe_")
)
WITHOUT_PAIRS = ("reminder", "caution", "cot", "ecso", "self_check")
"""Methods that are fitted to nothing."""
READ = (*TEXTS, *PROMPTS, "history", "images", *PICTURES)
"""Every column that is read."""
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


def check_row(table: Table, number: int, faults: Faults) -> None:
    """Collect a fault for each cell of a row that holds no text: a list, an object, bytes, the text
    "nan", which would join unrelated rows to a pair, an error of a spreadsheet, or (in a prompt) a
    truth value."""
    row, where = table.rows[number], table.place(number)
    for column in row:
        with faults.collected():
            if column in TEXTS:
                cell_text(row, column, where, table.column(column))
            elif column in PROMPTS:
                cell_prompt(row, column, where, table.column(column))
            _refuse_marks(row[column], column, f"{where}: column '{table.column(column)}'")


def _refuse_marks(value: object, column: str, where: str) -> None:
    """Raise CalibError for a text that stands for an empty or a wrong cell."""
    text = value.strip() if isinstance(value, str) else ""
    if text in NAN and column in (*PROMPTS, "pair", "cluster", "request", "id"):
        raise CalibError(
            "invalid-value",
            f"{where} is '{text}', which pandas writes as text for an empty cell. Empty it.",
        )
    if text in CELL_FAULTS and column in READ:
        raise CalibError("invalid-value", f"{where} is '{text}'. {CELL_FAULTS[text]}")


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


def repeat_notes(table: Table) -> list[str]:
    """A note on the rows that repeat an earlier one in every column but id."""
    seen: set[int] = set()
    numbers = []
    for number, row in zip(table.numbers, table.rows, strict=True):
        content = hash(repr([(name, row[name]) for name in sorted(row) if name != "id"]))
        if content in seen:
            numbers.append(number)
        seen.add(content)
    if not numbers:
        return []
    if len(numbers) == 1:
        return [
            f"{table.path.name}: 1 row repeats an earlier one (row {numbers[0]}); both are asked "
            "and counted"
        ]
    return [
        f"{table.path.name}: {len(numbers)} rows repeat an earlier one "
        f"(rows {', '.join(shortened(numbers, 10))}); all are asked and counted"
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


def no_twins_notes(path: Path, count: int, unpaired: int) -> list[str]:
    """A note on what works if none of the ``count`` queries has a twin."""
    if not count or unpaired < count:
        return []
    return [
        f"{path.name}: no query has a twin. The uncalibrated model, methods that only change the "
        f"prompt ({', '.join(WITHOUT_PAIRS)}) and a direction fitted on other pairs "
        "(method=steer method.direction=FILE) work; every other method is fitted to pairs of the "
        "train split and is refused. To go on: write the twin of each query, which differs in what "
        "makes it unsafe, with the same id in column 'pair' (docs/pairs.md#without-twins)"
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
