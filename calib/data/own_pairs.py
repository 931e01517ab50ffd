"""Your own image-text pairs: a table of safe and unsafe queries, or two folders of pictures.

A table (CSV, TSV, JSONL, JSON or parquet) has one query per row,

    query, safety                 what is asked, and safe or unsafe
    image, pair, category, variant, part, split, request, id       as far as you have them

or both twins in one row, which share whatever is not given twice:

    safe_query, unsafe_query      or one column query, asked about both pictures
    safe_image, unsafe_image      or one column image, shown with both queries

A folder holds the subfolders safe and unsafe; pictures of one name (but for its ending) are twins,
and data.query is asked about all of them. docs/pairs.md has examples of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.choices import PARTS
from calib.config.data import PairsData
from calib.data.example import SPLITS, Benchmark, Example, Safety, Split, pairs, split_of
from calib.data.images import picture_in
from calib.data.tables import TableRow, checked_columns, read_table, text_of
from calib.util.errors import CalibError, did_you_mean

SIDES: tuple[Safety, Safety] = ("safe", "unsafe")
OPTIONAL = ("image", "pair", "category", "variant", "part", "split", "request", "id")
TWIN_COLUMNS = ("safe_query", "unsafe_query", "safe_image", "unsafe_image")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


@dataclass(frozen=True)
class _Given:
    """One query as the file has it."""

    id: str
    where: str
    query: str
    safety: Safety
    image: Any
    pair: str
    row: Mapping[str, Any]


def load(config: PairsData) -> Benchmark:
    """The pairs that ``config`` names.

    Raises CalibError for a missing file, wrong columns, a row that is neither safe nor unsafe, a
    picture outside the root, and ids that are not unique.
    """
    if config.file is None:
        raise CalibError(
            "data.file is not set. Name a table of your pairs (CSV, JSONL or parquet), or a folder "
            "with the subfolders safe and unsafe: data.file=PATH."
        )
    path = Path(config.file).expanduser()
    if path.is_dir():
        given, root = _of_folder(path, config.query), path
    else:
        root = Path(config.root).expanduser() if config.root else path.parent
        if not root.is_dir():
            raise CalibError(f"data.root={config.root} is not a folder. Name that of the pictures.")
        given = _of_table(path, read_table(path), config.query)
    examples = _examples(given, root, config)
    alone = len(examples) - 2 * len(pairs(examples))
    notes = [f"{path.name}: {len(examples)} queries, {alone} of them without a twin"]
    return Benchmark(examples, notes)


def _of_table(path: Path, rows: Sequence[TableRow], query: str | None) -> list[_Given]:
    there = set(rows[0]) if rows else set()
    if there.isdisjoint(TWIN_COLUMNS):
        needed = ["safety"] if query else ["query", "safety"]
        checked_columns(rows, needed, str(path), OPTIONAL)
        return [_single(path, k, row, query) for k, row in enumerate(rows)]
    either = [name for name in ("query", "image") if f"safe_{name}" in there]
    needed = [f"{side}_{name}" for name in either for side in SIDES]
    if "safe_query" not in there and not query:
        needed.append("query")
    checked_columns(rows, needed, str(path), (*OPTIONAL, *TWIN_COLUMNS))
    return [one for k, row in enumerate(rows) for one in _twin(path, k, row, query)]


def _single(path: Path, number: int, row: TableRow, query: str | None) -> _Given:
    where = f"{path}, row {number + 1}"
    said = text_of(row, "safety").lower()
    safety: Safety = "safe" if said == "safe" else "unsafe"
    if said not in SIDES:
        raise CalibError(f"{where}: safety is '{said}'. Write safe or unsafe.")
    id_, asked = text_of(row, "id") or str(number), _asked(where, row, "query", query)
    return _Given(id_, where, asked, safety, row.get("image"), text_of(row, "pair"), row)


def _twin(path: Path, number: int, row: TableRow, query: str | None) -> list[_Given]:
    where = f"{path}, row {number + 1}"
    name = text_of(row, "id") or str(number)
    pair = text_of(row, "pair") or name
    found = []
    for side in SIDES:
        column = f"{side}_query" if f"{side}_query" in row else "query"
        image = row.get(f"{side}_image", row.get("image"))
        asked = _asked(where, row, column, query)
        found.append(_Given(f"{name}/{side}", where, asked, side, image, pair, row))
    return found


def _asked(where: str, row: TableRow, column: str, query: str | None) -> str:
    asked = text_of(row, column) or (query or "").strip()
    if not asked:
        raise CalibError(
            f"{where}: column '{column}' is empty. Write what is asked, or give one query for all: "
            "data.query='...'."
        )
    return asked


def _of_folder(folder: Path, query: str | None) -> list[_Given]:
    if not query:
        raise CalibError(
            f"data.file={folder} is a folder of pictures, so there must be something to ask about "
            "them: data.query='How do I use this?'. (Or name a table with a column query.)"
        )
    found = []
    for side in SIDES:
        inside = folder / side
        if not inside.is_dir():
            raise CalibError(f"{folder} has no subfolder '{side}'. It needs safe and unsafe.")
        names = sorted(p.name for p in inside.iterdir() if p.suffix.lower() in ENDINGS)
        if not names:
            raise CalibError(f"{inside} has no pictures ({', '.join(ENDINGS)}).")
        found += [
            _Given(path, str(inside / name), query, side, path, Path(name).stem, {})
            for name, path in ((name, f"{side}/{name}") for name in names)
        ]
    # Twins stand together, so that a limit on their number keeps pairs whole.
    return sorted(found, key=lambda one: (one.pair, one.safety))


def _examples(given: Sequence[_Given], root: Path, config: PairsData) -> list[Example]:
    queries: dict[str, set[str]] = {}
    for one in given:
        queries.setdefault(one.pair, set()).add(one.query)
    examples: list[Example] = []
    seen: dict[str, str] = {}
    for one in given:
        if one.id in seen:
            raise CalibError(
                f"{one.where} has the id '{one.id}' of {seen[one.id]}. Give each its own."
            )
        seen[one.id] = one.where
        picture = picture_in(one.image, root, f"{one.where}, column image")
        by_picture = picture is not None and bool(one.pair) and len(queries[one.pair]) == 1
        request = text_of(one.row, "request")
        examples.append(
            Example(
                id=f"pairs/{one.id}",
                dataset=_part(one, by_picture),
                variant=text_of(one.row, "variant") or ("photo" if picture else "text_only"),
                category=text_of(one.row, "category") or "none",
                split=_split(one, config),
                query=one.query,
                picture=picture,
                safety=one.safety,
                pair=f"pairs/{one.pair}" if one.pair else None,
                metadata={"request": request} if request else {},
                system=config.system,
            )
        )
    return examples


def _part(one: _Given, by_picture: bool) -> str:
    """image_centric where twins share the query and differ in the picture, else text_centric."""
    said = text_of(one.row, "part")
    if said and said not in PARTS:
        raise CalibError(
            f"{one.where}: part is '{said}'.{did_you_mean(said, PARTS)} "
            f"Choose from {', '.join(PARTS)}, or leave it empty."
        )
    return said or ("image_centric" if by_picture else "text_centric")


def _split(one: _Given, config: PairsData) -> Split:
    said = text_of(one.row, "split")
    for split in SPLITS:
        if said == split:
            return split
    if said:
        raise CalibError(
            f"{one.where}: split is '{said}'.{did_you_mean(said, SPLITS)} "
            f"Choose from {', '.join(SPLITS)}, or leave it empty."
        )
    return split_of(one.pair or one.id, config.train, config.validation)
