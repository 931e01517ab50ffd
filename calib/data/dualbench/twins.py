"""A harmful instruction and its benign twin, the user's tables of them, and which are kept."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calib.data.dualbench.categories import Category, parse_category
from calib.data.example import words_of
from calib.data.tables import cell_text, check_columns, read_table
from calib.util.errors import CalibError

OPTIONAL = ("id", "harmful_translation", "benign_translation")
_SHOWN = 5


@dataclass(frozen=True)
class Twin:
    """A harmful and a benign instruction that differ in little but their hazard."""

    key: str
    """Unique within its category."""
    category: Category
    harmful: str
    benign: str
    harmful_translation: str = ""
    benign_translation: str = ""

    @property
    def pair(self) -> str:
        """The pair id of all its examples."""
        return f"dualbench/{self.category.code}/{self.key}"


def read_twins(path: Path) -> tuple[list[Twin], list[str]]:
    """The twins of a table, and notes on what was left out or stands out.

    A twin's key is its id, or a hash of its texts. Raises CalibError for a missing column, an
    unknown category, an empty or repeated cell, or twins that are the same text.
    """
    rows = read_table(path)
    check_columns(rows, ("category", "harmful", "benign"), str(path), OPTIONAL)
    twins: dict[str, Twin] = {}
    texts: set[tuple[str, str, str]] = set()
    repeated = 0
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        category = parse_category(cell_text(row, "category"), where)
        cells = {name: cell_text(row, name) for name in ("harmful", "benign", *OPTIONAL)}
        for name in ("harmful", "benign"):
            if not cells[name]:
                raise CalibError(f"{where}: '{name}' is empty. Write the instruction there.")
        if cells["harmful"] == cells["benign"]:
            raise CalibError(f"{where}: harmful and benign are the same text. Change one of them.")
        content = (category.code, cells["harmful"], cells["benign"])
        if content in texts:
            repeated += 1
            continue
        texts.add(content)
        key = cells.pop("id") or hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]
        if not key.isprintable():
            raise CalibError(f"{where}: the id {key!r} is no printable text. Give another.")
        twin = Twin(key, category, **cells)
        if twin.pair in twins:
            raise CalibError(
                f"{where}: the id '{key}' stands twice in {category.name}. Give every twin one of "
                "its own, or leave the column away."
            )
        twins[twin.pair] = twin
    notes = [f"{path}: {repeated} rows repeat a twin and were left out"] if repeated else []
    return list(twins.values()), notes + _unlike(path, list(twins.values()))


def _unlike(path: Path, twins: Sequence[Twin]) -> list[str]:
    """A note on twins that could be told apart by their form."""
    unlike = [twin for twin in twins if _form(twin.harmful) != _form(twin.benign)]
    if not unlike:
        return []
    return [
        f"{path}: {len(unlike)} of {len(twins)} twins differ in number of words or punctuation, "
        f"which may give them away (first: {unlike[0].pair})"
    ]


def _form(text: str) -> tuple[int, str]:
    return len(words_of(text)), "".join(re.findall(r"[^\w\s]", text))


def read_translations(path: Path) -> dict[str, str]:
    """Translations by text, from a table with columns text and translation.

    Raises CalibError for an empty cell and for a text with two translations.
    """
    rows = read_table(path)
    check_columns(rows, ("text", "translation"), str(path))
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        text, translation = cell_text(row, "text"), cell_text(row, "translation")
        if not text or not translation:
            raise CalibError(f"{path}, row {number}: a cell is empty. Fill it or delete the row.")
        if found.setdefault(text, translation) != translation:
            raise CalibError(
                f"{path}, row {number}: '{text}' already has another translation. Keep one."
            )
    return found


def translated(twins: Iterable[Twin], translations: dict[str, str]) -> list[Twin]:
    """The twins with the translations of a table instead of their own, "" where it has none."""
    return [
        replace(
            twin,
            harmful_translation=translations.get(twin.harmful, ""),
            benign_translation=translations.get(twin.benign, ""),
        )
        for twin in twins
    ]


def check_translations(twins: Sequence[Twin]) -> None:
    """Raise CalibError where a twin lacks a translation."""
    bare = [t.pair for t in twins if not (t.harmful_translation and t.benign_translation)]
    if bare:
        first = ", ".join(bare[:_SHOWN]) + (", ..." if len(bare) > _SHOWN else "")
        raise CalibError(
            f"{len(bare)} of {len(twins)} twins have no translation of both texts: {first}. Add "
            "the columns harmful_translation and benign_translation to data.twins, give a table "
            "of texts and translations (data.translations=FILE), or drop translation from "
            "data.variants."
        )


def limit_per_category(pairs: dict[str, str], number: int | None) -> set[str]:
    """The ids of at most ``number`` pairs of each category, drawn by hashing.

    ``pairs`` are categories by pair id. A smaller number gives a subset, the same everywhere.
    """
    by_category: dict[str, list[str]] = defaultdict(list)
    for pair, category in pairs.items():
        by_category[category].append(pair)
    return {pair for found in by_category.values() for pair in sorted(found, key=_draw)[:number]}


def _draw(pair: str) -> bytes:
    # Salted: splits are drawn from the hash of the pair alone, and the first ones by that hash
    # would all lie in the train split.
    return hashlib.sha256(f"per_category/{pair}".encode()).digest()
