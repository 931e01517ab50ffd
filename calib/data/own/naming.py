"""The user's names of columns (data.columns) and labels of safety (data.labels) as calib's."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from calib.config.checks import word_key
from calib.config.choices import SAFETIES, Safety
from calib.data.audit.own_columns import MORE_IMAGES, OPTIONAL, TWIN_COLUMNS
from calib.data.formats.sheet_choice import HeaderFit, name_of
from calib.data.own.faults import Faults
from calib.data.tables import Table, cell_text
from calib.util.errors import CalibError, did_you_mean
from calib.util.listing import shortened

COLUMNS = ("query", "safety", *OPTIONAL, *TWIN_COLUMNS[:4], *MORE_IMAGES, *TWIN_COLUMNS[4:])
"""Every column that a table of pairs may have."""
_LISTED = 10


def header_test(columns: Mapping[str, str], query: str | None) -> HeaderFit:
    """How well a row of a sheet names the columns of a table of pairs, in the user's names."""
    known = [name_of(columns.get(column, column)).casefold() for column in COLUMNS]

    def header_fit(names: Sequence[str]) -> float:
        def has(column: str) -> bool:
            return name_of(columns.get(column, column)) in names

        both = any(has(safe) and has(unsafe) for safe, unsafe in _SIDES)
        if (both or has("safety")) and (query or both or has("query")):
            return 1.0
        some = sum(bool(get_close_matches(name.casefold(), known, 1, 0.75)) for name in names)
        return some / (some + 1)

    return header_fit


_SIDES = tuple(zip(TWIN_COLUMNS[::2], TWIN_COLUMNS[1::2], strict=True))


def renamed(table: Table, columns: Mapping[str, str]) -> Table:
    """The table with calib's names of columns; ``columns`` has the user's names by calib's.

    A column that another one replaces (``query`` where data.columns reads Prompt as the query) is
    left out, and a note says so. Raises CalibError for a name that calib does not read
    (unknown-name), a column that the table does not have (missing-column), and a column that is
    given twice (conflicting-settings).
    """
    present = list(dict.fromkeys(name for row in table.rows for name in row))
    written = {name_of(name): name for name in present}
    theirs: dict[str, str] = {}
    for ours, name in columns.items():
        if ours not in COLUMNS:
            raise CalibError(
                "unknown-name",
                f"data.columns: calib reads no column '{ours}'.{did_you_mean(ours, COLUMNS)} Write "
                "{CALIB'S NAME: YOUR NAME}; calib's names are "
                f"query, safety, {', '.join(OPTIONAL)}.",
            )
        if table.rows and name_of(name) not in written:
            listed = ", ".join(f"'{name}'" for name in shortened(present, 20))
            raise CalibError(
                "missing-column",
                f"data.columns: {table.path} has no column '{name}' for {ours}."
                f"{did_you_mean(name, present)} Its columns: {listed}.",
            )
        theirs[ours] = written.get(name_of(name), name)
    repeated = [name for name in theirs.values() if list(theirs.values()).count(name) > 1]
    if repeated:
        raise CalibError(
            "conflicting-settings",
            f"data.columns gives column '{repeated[0]}' twice. Give each column once.",
        )
    ours_of = {name: ours for ours, name in theirs.items()}
    replaced = [name for name in present if name in theirs and name not in ours_of]
    rows = [
        {ours_of.get(name, name): cell for name, cell in row.items() if name not in replaced}
        for row in table.rows
    ]
    note = f"{table.path.name}: columns that data.columns replaces are not read: "
    notes = [note + ", ".join(f"'{name}'" for name in replaced)] if replaced else []
    return replace(table, rows=rows, names=theirs, notes=[*table.notes, *notes])


def safety_of(value: object, labels: Mapping[str, str]) -> Safety | None:
    """The safety that a cell states; None if it is neither safe, unsafe nor one of ``labels``."""
    word = word_key("" if value is None else value)
    meaning = labels.get(word, word)
    return next((safety for safety in SAFETIES if safety == meaning), None)


def check_labels(table: Table, labels: Mapping[str, str], faults: Faults) -> list[str]:
    """Collect a fault that names the words in column safety without a meaning, and their rows.

    Notes on ``labels`` that no row has are returned.
    """
    unknown: dict[str, list[int]] = {}
    used, shown = set(), table.column("safety")
    for number, row in enumerate(table.rows):
        value = row.get("safety")
        used.add(word_key("" if value is None else value))
        if safety_of(value, labels) is None:
            with faults.collected():
                unknown.setdefault(cell_text(row, "safety", table.place(number), shown), []).append(
                    table.numbers[number]
                )
    if unknown:
        found = [
            f"{text[:80]!r} in {len(numbers)} row{'s' * (len(numbers) > 1)} (row "
            f"{', '.join(shortened(numbers, _LISTED))})"
            for text, numbers in unknown.items()
        ]
        words = [word[:40] for word in shortened((text for text in unknown if text), _LISTED)]
        mapped = ", ".join(f"{word}: ..." for word in words)
        if not all(re.fullmatch(r"[A-Za-z0-9_ -]*", word) for word in words):
            mapped = 'unsafe: ["..."], safe: ["..."]'  # Hydra cannot read such words as keys
        advice = f", or give each word its meaning: data.labels={{{mapped}}}" if mapped else ""
        with faults.collected():
            raise CalibError(
                "invalid-value",
                f"{table.path}: column '{shown}' has other words than safe and unsafe: "
                f"{'; '.join(shortened(found, _LISTED))}. Write safe or unsafe{advice}.",
            )
    unused = [word for word in labels if word not in used]
    listed = ", ".join(f"'{word}'" for word in unused)
    return [f"{table.path.name}: data.labels has words that no row has: {listed}"] if unused else []
