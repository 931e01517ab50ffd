"""Where the examples that a direction was fitted to, and measured on, lie along it; and their file.

    p_l = (h_l . direction_l - midpoint_l) / gap_l

is in the unit of strength: 0 lies halfway between the class means of the train examples, -0.5 at
that of the negative and 0.5 at that of the positive class.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from calib.data.example import SPLITS, Split
from calib.directions.direction import Direction
from calib.util.errors import CalibError
from calib.util.files import csv_safe, from_csv_safe, write_atomically

ENDING = ".projections.csv"
"""Of the file that stands beside that of the direction, and has its name before the ending."""

Side = Literal["positive", "negative"]
SIDES: tuple[Side, ...] = ("positive", "negative")
Group = tuple[Split, Side, Sequence[str], torch.Tensor]
"""Where some examples belong, their ids and their activations. # [examples, layers, width]"""
_NAMED = ("example", "side", "split")


@dataclass(frozen=True)
class Projections:
    """Examples along a direction; one may stand on both sides, or on one several times."""

    examples: list[str]
    """Ids."""
    sides: list[Side]
    splits: list[Split]
    layers: list[int]
    """0-based decoder blocks that the columns of ``values`` belong to."""
    values: NDArray[np.float64]  # [examples, layers]

    def at(self, layer: int, side: Side, split: Split) -> NDArray[np.float64]:
        """Projections at one layer of one side of the contrast in one split. # [examples]

        Raises CalibError when there is no such layer.
        """
        if layer not in self.layers:
            raise CalibError(
                f"There are no projections at layer {layer}, only at layers {self.layers}. Choose "
                "one of those."
            )
        places = zip(self.sides, self.splits, strict=True)
        return self.values[[place == (side, split) for place in places], self.layers.index(layer)]


def projections_of(direction: Direction, groups: Iterable[Group]) -> Projections:
    """Groups of examples along a direction whose layers they were read at."""
    examples: list[str] = []
    sides: list[Side] = []
    splits: list[Split] = []
    values = []
    for split, side, ids, activations in groups:
        examples += ids
        sides += [side] * len(ids)
        splits += [split] * len(ids)
        values.append(along(direction, activations))
    return Projections(examples, sides, splits, direction.layers, torch.cat(values).numpy())


def along(direction: Direction, activations: torch.Tensor) -> torch.Tensor:
    """Projections of activations at the direction's layers, in the unit of strength.

    # [examples, layers, width] to [examples, layers] float64
    """
    found = torch.einsum("nlw,lw->nl", activations.double(), direction.vectors.double())
    return (found - direction.midpoint.double()) / direction.gap.double()


def projections_file(direction_file: Path) -> Path:
    """Where the projections on the direction in a file are kept."""
    return direction_file.with_name(direction_file.stem + ENDING)


def write_projections(path: Path, projections: Projections) -> None:
    """Write one line per example, with six decimals, all at once or not at all.

    Raises CalibError when writing fails.
    """
    text = io.StringIO(newline="")
    # With this end of lines every line break within an id is quoted, a lone \r too.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*_NAMED, *(f"layer_{layer}" for layer in projections.layers)])
    named = zip(projections.examples, projections.sides, projections.splits, strict=True)
    for (example, side, split), row in zip(named, projections.values, strict=True):
        writer.writerow([csv_safe(example), side, split, *(f"{v:z.6f}" for v in row)])
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def read_projections(path: Path) -> Projections:
    """Read and check a file of projections.

    Raises CalibError when it is missing, has other columns, or a line that is not whole.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            layers = _layers(path, next(reader, []))
            lines = [_line(path, reader.line_num, row, len(layers)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    if not lines:
        raise CalibError(f"{path} holds no example. {_AGAIN}")
    examples, sides, splits, values = zip(*lines, strict=True)
    return Projections(list(examples), list(sides), list(splits), layers, np.array(values))


_AGAIN = "Delete it and the direction beside it, and give the run's command again."


def _layers(path: Path, head: list[str]) -> list[int]:
    columns = [re.fullmatch(r"layer_(\d{1,6})", name, re.ASCII) for name in head[len(_NAMED) :]]
    layers = [int(column[1]) for column in columns if column]
    sound = len(layers) == len(columns) > 0 and layers == sorted(set(layers))
    if head[: len(_NAMED)] != [*_NAMED] or not sound:
        raise CalibError(
            f"{path} has the columns '{','.join(head)[:80]}', not those of projections: "
            f"{','.join(_NAMED)},layer_0,layer_1 and so on. {_AGAIN}"
        )
    return layers


def _line(path: Path, number: int, row: list[str], layers: int) -> tuple[Any, ...]:
    try:
        example, side, split, *cells = row
        values = [float(cell) for cell in cells]
        whole = len(values) == layers and all(map(math.isfinite, values))
        if whole and side in SIDES and split in SPLITS:
            return from_csv_safe(example), side, split, values
    except ValueError:
        pass
    raise CalibError(
        f"{path}, line {number}: '{','.join(row)[:80]}' is not an example, its side, its split and "
        f"{layers} numbers. {_AGAIN}"
    )
