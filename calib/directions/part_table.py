"""The separation of parts as a table: one layer of it, a sentence about it, and its CSV file."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from calib.directions.checksum import PARTS, table_path
from calib.directions.parts import POOLED, PartSeparation
from calib.util.errors import CalibError
from calib.util.files import (
    csv_safe,
    from_csv_safe,
    without_control_characters,
    write_atomically,
)

SEPARATES = 0.75
"""AUROC from which a part is called well separated by its own direction."""
NEAR_CHANCE = 0.6
"""AUROC up to which the direction of another part is called close to chance."""
COLUMNS = tuple(field.name for field in fields(PartSeparation))
_TEXT = ("fitted_on", "measured_on")
_COUNTS = ("layer", "n", "clusters", "train")

Cells = dict[tuple[str, str], PartSeparation]
"""The separations at one layer, by the parts fitted and measured on."""


def at_best_layer(separations: Sequence[PartSeparation]) -> Cells:
    """The separations at the layer where the parts' own directions separate them best.

    That is the layer with the highest mean AUROC within parts, the first one of equals.
    """
    within: dict[int, list[float]] = {}
    for each in separations:
        if each.fitted_on == each.measured_on != POOLED:
            within.setdefault(each.layer, []).append(each.auroc)
    best = max(within, key=lambda layer: sum(within[layer]), default=None)
    return at_layer(separations, best)


def at_layer(separations: Sequence[PartSeparation], layer: int | None) -> Cells:
    """The separations at one layer."""
    return {(s.fitted_on, s.measured_on): s for s in separations if s.layer == layer}


def disagreements(cells: Cells) -> list[tuple[PartSeparation, PartSeparation]]:
    """Separations across parts that are close to chance, each with the part's own, worst first.

    The part's own direction must separate it: an AUROC of SEPARATES or more. The interval of the
    other part's direction must lie below that of the part's own, and reach NEAR_CHANCE: a wide
    interval alone is no disagreement.
    """
    found = []
    for (fitted_on, measured_on), across in cells.items():
        within = cells.get((measured_on, measured_on))
        if within is None or fitted_on == measured_on or POOLED in (fitted_on, measured_on):
            continue
        apart = across.high < within.low
        if within.auroc >= SEPARATES and apart and across.low <= NEAR_CHANCE:
            found.append((across, within))
    return sorted(found, key=lambda pair: pair[0].auroc)


def sentence(direction: str, separations: Sequence[PartSeparation], path: Path) -> str:
    """Whether the parts agree about a direction; ``path`` is the file that has all numbers.

    Empty if no part has both a direction and validation examples on both sides.
    """
    cells = at_best_layer(separations)
    if not cells:
        return ""
    layer = next(iter(cells.values())).layer
    opposed = disagreements(cells)
    if opposed:
        other, own = opposed[0]
        worst = f", worst of {len(opposed)} cases" if len(opposed) > 1 else ""
        return (
            f"parts disagree about the {direction}{worst}: at layer {layer}, the direction fitted "
            f"on {other.fitted_on} separates {other.measured_on} with AUROC {auroc_text(other)}, "
            f"that fitted on {own.fitted_on} itself with {auroc_text(own)} (n = {own.n}, "
            f"{own.clusters} clusters, cosine {other.cosine:+.2f}); all: {path.name}"
        )
    by_part = {key: s for key, s in cells.items() if POOLED not in key}
    within = [s.auroc for key, s in by_part.items() if key[0] == key[1]]
    across = [s for key, s in by_part.items() if key[0] != key[1]]
    cosines = sorted({round(s.cosine, 2) for s in across if not math.isnan(s.cosine)})
    aligned = f", cosine {cosines[0]:+.2f} or more" if cosines else ""
    return (
        f"the {direction} by part, layer {layer}: AUROC {min(within):.2f} or more within parts, "
        f"{min(s.auroc for s in across):.2f} or more across parts{aligned}; all: {path.name}"
    )


def auroc_text(separation: PartSeparation) -> str:
    """An AUROC and its interval."""
    return f"{separation.auroc:.2f} ({separation.low:.2f} to {separation.high:.2f})"


def parts_path(direction_file: Path) -> Path:
    """Path of the separations by part that belong to a direction file."""
    return table_path(direction_file, PARTS)


def write_parts(path: Path, separations: Sequence[PartSeparation]) -> None:
    """Write one line per separation, with six decimals; an existing file is replaced atomically.

    Raises CalibError if the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for each in separations:
        writer.writerow([_written(getattr(each, name)) for name in COLUMNS])
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def read_parts(path: Path) -> list[PartSeparation]:
    """Read the separations of a file.

    Raises CalibError if the file does not exist, lacks a column, or has text in place of a number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [_separation(row) for row in csv.DictReader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        code = "not-found" if isinstance(error, FileNotFoundError) else "unreadable"
        raise CalibError(code, f"{path} cannot be read: {error}. {_FIX}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CalibError(
            "invalid-content",
            f"{path} is not a table of separations by part ({error}); it has the columns "
            f"{','.join(COLUMNS)}. {_FIX}",
        ) from error


_FIX = "Delete it and its direction, and run the command again."


def _written(value: str | float) -> str:
    if isinstance(value, str):
        return csv_safe(without_control_characters(value))
    if isinstance(value, int):
        return str(value)
    return "" if math.isnan(value) else f"{value:z.6f}"


def _separation(row: Mapping[str, str]) -> PartSeparation:
    values: dict[str, Any] = {name: from_csv_safe(row[name]) for name in _TEXT}
    for name in COLUMNS[len(_TEXT) :]:
        values[name] = int(row[name]) if name in _COUNTS else float(row[name] or "nan")
    return PartSeparation(**values)
