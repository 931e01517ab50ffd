"""The queries of a table or a folder as examples: pictures, part, split and twins."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calib.config.choices import PARTS, SPLITS, Safety, Split
from calib.config.data import PairsData
from calib.data.example import Example
from calib.data.history import turns_from_cell
from calib.data.images import picture_from_cell
from calib.data.own.entries import Entry
from calib.data.own.faults import Faults
from calib.data.splits import split_of
from calib.data.tables import cell_prompt, cell_text
from calib.util.errors import CalibError, did_you_mean


def examples_of(
    entries: Sequence[Entry], root: Path, config: PairsData, faults: Faults
) -> list[tuple[Entry, Example]]:
    """The example of each entry without a fault; ``root`` is the folder of the pictures.

    Faults are collected: a picture outside of ``root``, an unknown part or split, earlier turns
    that cannot be read, an id that occurs twice.
    """
    stated = {e.pair: cell for e in entries if e.pair and (cell := cell_text(e.row, "split"))}
    texts: dict[str, set[str]] = {}
    for entry in entries:
        texts.setdefault(entry.pair, set()).add(repr((entry.query, entry.row.get("history"))))
    shown: dict[int, list[Any]] = {}
    for number, entry in enumerate(entries):
        known = len(faults.found)
        pictures = [_picture(entry, column, cell, root, faults) for column, cell in entry.images]
        if len(faults.found) == known:
            shown[number] = [picture for picture in pictures if picture]
    readable = [(entries[number], pictures) for number, pictures in shown.items()]
    one_sided = _pictures_on_one_side(readable)
    examples: list[tuple[Entry, Example]] = []
    locations: dict[str, str] = {}
    for entry, pictures in readable:
        with faults.collected():
            if entry.id in locations:
                raise CalibError(
                    "duplicate",
                    f"{entry.where} and {locations[entry.id]} have the same id '{entry.id}'. "
                    "Give each row its own id.",
                )
            locations[entry.id] = entry.where
            pictured = bool(pictures) or entry.pair in one_sided
            same_query = bool(pictured and entry.pair) and len(texts[entry.pair]) == 1
            split = _split(entry, config, stated.get(entry.pair, ""))
            examples.append((entry, _example(entry, pictures, pictured, same_query, split, config)))
    return examples


def _picture(entry: Entry, column: str, cell: Any, root: Path, faults: Faults) -> Any:
    with faults.collected():
        return picture_from_cell(cell, root, entry.place(column))
    return None


def _example(
    entry: Entry,
    pictures: Sequence[Any],
    pictured: bool,
    same_query: bool,
    split: Split,
    config: PairsData,
) -> Example:
    request = cell_text(entry.row, "request")
    return Example(
        id=f"pairs/{entry.id}",
        dataset=_part(entry, same_query),
        variant=cell_text(entry.row, "variant") or ("photo" if pictured else "text_only"),
        category=cell_text(entry.row, "category") or "none",
        split=split,
        query=entry.query,
        picture=pictures[0] if pictures else None,
        more_pictures=tuple(pictures[1:]),
        safety=entry.safety,
        pair=f"pairs/{entry.pair}" if entry.pair else None,
        concept=cell_text(entry.row, "cluster") or None,
        metadata={"request": request} if request else {},
        system=cell_prompt(entry.row, "system") or config.system,
        demonstrations=turns_from_cell(entry.row.get("history"), entry.place("history")),
    )


def _pictures_on_one_side(readable: Sequence[tuple[Entry, Sequence[Any]]]) -> set[str]:
    """The pairs in which the picture alone separates the twins: one has some, the other none."""
    sides: dict[str, set[tuple[Safety, bool]]] = {}
    for entry, pictures in readable:
        if entry.pair:
            sides.setdefault(entry.pair, set()).add((entry.safety, bool(pictures)))
    alone = ({("safe", True), ("unsafe", False)}, {("safe", False), ("unsafe", True)})
    return {pair for pair, found in sides.items() if found in alone}


def _part(entry: Entry, same_query: bool) -> str:
    """image_centric if twins share the query and differ in the picture, else text_centric."""
    part = cell_text(entry.row, "part")
    if part and part not in PARTS:
        raise CalibError(
            "invalid-value",
            f"{entry.where}: part is '{part}'.{did_you_mean(part, PARTS)} "
            f"Choose from {', '.join(PARTS)}, or leave the cell empty.",
        )
    return part or ("image_centric" if same_query else "text_centric")


def _split(entry: Entry, config: PairsData, of_twin: str) -> Split:
    """The split in the row, or else the one that its twin states, or else one drawn by hashing."""
    value = cell_text(entry.row, "split") or of_twin
    for split in SPLITS:
        if value == split:
            return split
    if value:
        raise CalibError(
            "invalid-value",
            f"{entry.where}: split is '{value}'.{did_you_mean(value, SPLITS)} "
            f"Choose from {', '.join(SPLITS)}, or leave the cell empty.",
        )
    return split_of(entry.pair or entry.id, config.train, config.validation)
