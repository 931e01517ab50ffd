"""Twins (a harmful and a benign instruction) and their hazard categories, read from users' tables.

The twelve categories are those of DUAL-Bench (arXiv 2510.10846, table 3).
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calib.data.example import words_of
from calib.data.tables import cell_text, check_columns, open_table, read_table
from calib.util.errors import CalibError, did_you_mean
from calib.util.listing import shortened

OPTIONAL = ("id", "harmful_translation", "benign_translation")
_LISTED = 5  # twins listed in an error message


@dataclass(frozen=True)
class Category:
    """A hazard category and its code in the MLCommons taxonomy."""

    code: str
    name: str


CATEGORIES = tuple(
    Category(f"S{number}", name)
    for number, name in enumerate(
        (
            "Violent Crimes",
            "Non-Violent Crimes",
            "Sex-Related Crimes",
            "Child Sexual Exploitation",
            "Defamation",
            "Specialized Advice",
            "Privacy",
            "Intellectual Property",
            "Indiscriminate Weapons",
            "Hate",
            "Suicide & Self-Harm",
            "Sexual Content",
        ),
        start=1,
    )
)


def parse_category(text: str, where: str) -> Category:
    """The category with ``text`` as its code or name, ignoring case and punctuation.

    ``where`` is the location of the text. Raises CalibError, with the nearest match, if there is no
    such category.
    """
    labels = {_plain(label): c for c in CATEGORIES for label in (c.code, c.name)}
    if (category := labels.get(_plain(text))) is not None:
        return category
    names = {c.name.casefold(): c.name for c in CATEGORIES}
    hint = did_you_mean(text.casefold(), names)
    for lower, name in names.items():
        hint = hint.replace(f"'{lower}'", f"'{name}'")
    choices = ", ".join(f"{c.code} {c.name}" for c in CATEGORIES)
    raise CalibError(
        "invalid-value",
        f"{where}: '{text}' is not a hazard category.{hint} Give a code or a name: {choices}.",
    )


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold().replace("&", "and"))


@dataclass(frozen=True)
class Twin:
    """A harmful and a benign instruction that differ as little as possible otherwise."""

    key: str
    """Unique within its category."""
    category: Category
    harmful: str
    benign: str
    harmful_translation: str = ""
    benign_translation: str = ""

    @property
    def pair(self) -> str:
        """The pair id of all examples of this twin."""
        return f"dualbench/{self.category.code}/{self.key}"


def read_twins(path: Path) -> tuple[list[Twin], list[str]]:
    """The twins in a table, and notes on skipped or suspicious rows.

    A twin's key is its id, or a hash of its texts. Rows that repeat a twin are skipped. Raises
    CalibError for a missing column, an unknown category, an empty cell, a duplicate id, or
    identical harmful and benign texts.
    """
    table = open_table(path)
    rows = table.rows
    check_columns(rows, ("category", "harmful", "benign"), str(path), OPTIONAL)
    twins: dict[str, Twin] = {}
    texts: set[tuple[str, str, str]] = set()
    repeated = 0
    for number, row in enumerate(rows):
        where = table.place(number)
        category = parse_category(cell_text(row, "category"), where)
        cells = {name: cell_text(row, name) for name in ("harmful", "benign", *OPTIONAL)}
        for name in ("harmful", "benign"):
            if not cells[name]:
                raise CalibError(
                    "missing-value", f"{where}: column '{name}' is empty. Write the instruction."
                )
        if cells["harmful"] == cells["benign"]:
            raise CalibError(
                "invalid-value",
                f"{where}: harmful and benign are the same text. Change one of them.",
            )
        content = (category.code, cells["harmful"], cells["benign"])
        if content in texts:
            repeated += 1
            continue
        texts.add(content)
        key = cells.pop("id") or hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]
        if not key.isprintable():
            raise CalibError(
                "invalid-value", f"{where}: the id {key!r} is not printable. Give another id."
            )
        twin = Twin(key, category, **cells)
        if twin.pair in twins:
            raise CalibError(
                "duplicate",
                f"{where}: the id '{key}' occurs twice in {category.name}. Give every twin its "
                "own id, or omit the column.",
            )
        twins[twin.pair] = twin
    notes = [f"{path}: skipped {repeated} rows that repeat a twin"] if repeated else []
    return list(twins.values()), table.notes + notes + _form_notes(path, list(twins.values()))


def _form_notes(path: Path, twins: Sequence[Twin]) -> list[str]:
    """A note on twins that are distinguishable by their form alone."""
    unequal = [twin for twin in twins if _form(twin.harmful) != _form(twin.benign)]
    if not unequal:
        return []
    return [
        f"{path}: {len(unequal)} of {len(twins)} twins differ in their number of words or in "
        f"punctuation, which may reveal the harmful twin (first: {unequal[0].pair})"
    ]


def _form(text: str) -> tuple[int, str]:
    return len(words_of(text)), "".join(re.findall(r"[^\w\s]", text))


def read_translations(path: Path) -> dict[str, str]:
    """Translations by text, from a table with the columns text and translation.

    Raises CalibError for an empty cell and for a text with two translations.
    """
    rows = read_table(path)
    check_columns(rows, ("text", "translation"), str(path))
    translations: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        text, translation = cell_text(row, "text"), cell_text(row, "translation")
        if not text or not translation:
            raise CalibError(
                "missing-value",
                f"{path}, row {number}: a cell is empty. Fill it or delete the row.",
            )
        if translations.setdefault(text, translation) != translation:
            raise CalibError(
                "duplicate",
                f"{path}, row {number}: '{text}' already has another translation. Delete one.",
            )
    return translations


def with_translations(twins: Iterable[Twin], translations: dict[str, str]) -> list[Twin]:
    """The twins with translations from a table in place of their own; "" if the table has none."""
    return [
        replace(
            twin,
            harmful_translation=translations.get(twin.harmful, ""),
            benign_translation=translations.get(twin.benign, ""),
        )
        for twin in twins
    ]


def check_translations(twins: Sequence[Twin]) -> None:
    """Raise CalibError if a twin lacks a translation."""
    incomplete = [t.pair for t in twins if not (t.harmful_translation and t.benign_translation)]
    if incomplete:
        first = ", ".join(shortened(incomplete, _LISTED))
        raise CalibError(
            "missing-value",
            f"{len(incomplete)} of {len(twins)} twins lack a translation of either text: {first}. "
            "Add the columns harmful_translation and benign_translation to data.twins, give a "
            "table of texts and translations (data.translations=FILE), or remove translation from "
            "data.variants.",
        )


def limit_per_category(categories: dict[str, str], limit: int | None) -> set[str]:
    """The ids of at most ``limit`` pairs per category, drawn by hashing.

    ``categories`` are by pair id. A smaller limit gives a subset, the same on every machine.
    """
    pairs: dict[str, list[str]] = defaultdict(list)
    for pair, category in categories.items():
        pairs[category].append(pair)
    return {pair for members in pairs.values() for pair in sorted(members, key=_draw)[:limit]}


def _draw(pair: str) -> bytes:
    # Salted: splits are drawn from the hash of the pair alone, so the first pairs by that hash
    # would all be in the train split.
    return hashlib.sha256(f"per_category/{pair}".encode()).digest()
