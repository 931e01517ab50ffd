"""Projections of examples on a direction, and the CSV file that stores them.

The projection at layer l, in the unit of strength, is

    p_l = (h_l . direction_l - midpoint_l) / gap_l

For the train examples, the class means are at -0.5 (negative) and 0.5 (positive).
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

from calib.config.choices import SPLITS, Split
from calib.directions.checksum import PROJECTIONS, table_path
from calib.directions.direction import Direction
from calib.util.errors import CalibError
from calib.util.files import csv_safe, from_csv_safe, write_atomically

Side = Literal["positive", "negative"]
SIDES: tuple[Side, ...] = ("positive", "negative")
LabelledActivations = tuple[Split, Side, Sequence[str], torch.Tensor]
"""Split, side, ids and activations of some examples. # [examples, layers, width]"""
_ID_COLUMNS = ("example", "side", "split")


@dataclass(frozen=True)
class Projections:
    """Projections of examples; an example may occur several times, also on both sides."""

    examples: list[str]
    """Example ids."""
    sides: list[Side]
    splits: list[Split]
    layers: list[int]
    """0-based decoder blocks of the columns of ``values``."""
    values: NDArray[np.float64]  # [examples, layers]

    def at(self, layer: int, side: Side, split: Split) -> NDArray[np.float64]:
        """Projections at a layer, of one side of the contrast and one split. # [examples]

        Raises CalibError if there are no projections at the layer.
        """
        if layer not in self.layers:
            raise CalibError(
                "invalid-value",
                f"There are no projections at layer {layer}, only at layers {self.layers}. Choose "
                "one of these.",
            )
        return self.values[self._of(side, split), self.layers.index(layer)]

    def ids(self, side: Side, split: Split) -> list[str]:
        """Ids of the examples in ``at``, in its order."""
        return [id for id, own in zip(self.examples, self._of(side, split), strict=True) if own]

    def _of(self, side: Side, split: Split) -> list[bool]:
        return [label == (side, split) for label in zip(self.sides, self.splits, strict=True)]


def project_groups(direction: Direction, groups: Iterable[LabelledActivations]) -> Projections:
    """Projections of groups of activations, which were read at the direction's layers."""
    examples: list[str] = []
    sides: list[Side] = []
    splits: list[Split] = []
    values = []
    for split, side, ids, activations in groups:
        examples += ids
        sides += [side] * len(ids)
        splits += [split] * len(ids)
        values.append(project(direction, activations))
    return Projections(examples, sides, splits, direction.layers, torch.cat(values).numpy())


def project(direction: Direction, activations: torch.Tensor) -> torch.Tensor:
    """Projections of activations at the direction's layers, in the unit of strength.

    # [examples, layers, width] -> [examples, layers] float64
    """
    products = torch.einsum("nlw,lw->nl", activations.double(), direction.vectors.double())
    return (products - direction.midpoint.double()) / direction.gap.double()


def projections_path(direction_file: Path) -> Path:
    """Path of the projections that belong to a direction file."""
    return table_path(direction_file, PROJECTIONS)


def write_projections(path: Path, projections: Projections) -> None:
    """Write one line per example, with six decimals; an existing file is replaced atomically.

    Raises CalibError if the file cannot be written.
    """
    text = io.StringIO(newline="")
    # With this line terminator, the writer quotes every line break in an id, including a single \r.
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([*_ID_COLUMNS, *(f"layer_{layer}" for layer in projections.layers)])
    labels = zip(projections.examples, projections.sides, projections.splits, strict=True)
    for (example, side, split), row in zip(labels, projections.values, strict=True):
        writer.writerow([csv_safe(example), side, split, *(f"{v:z.6f}" for v in row)])
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def read_projections(path: Path) -> Projections:
    """Read and validate a projections file.

    Raises CalibError if the file does not exist, has other columns, or has an invalid line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            layers = _layers(path, next(reader, []))
            lines = [_line(path, reader.line_num, row, len(layers)) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        code = "not-found" if isinstance(error, FileNotFoundError) else "unreadable"
        raise CalibError(code, f"{path} cannot be read: {error}. {_FIX}") from error
    if not lines:
        raise CalibError("invalid-content", f"{path} contains no examples. {_FIX}")
    examples, sides, splits, values = zip(*lines, strict=True)
    return Projections(list(examples), list(sides), list(splits), layers, np.array(values))


_FIX = "Delete it and its direction file, and run the run's command again."


def _layers(path: Path, header: list[str]) -> list[int]:
    names = header[len(_ID_COLUMNS) :]
    columns = [re.fullmatch(r"layer_(\d{1,6})", name, re.ASCII) for name in names]
    layers = [int(column[1]) for column in columns if column]
    ascending = len(layers) == len(columns) > 0 and layers == sorted(set(layers))
    if header[: len(_ID_COLUMNS)] != [*_ID_COLUMNS] or not ascending:
        raise CalibError(
            "invalid-content",
            f"{path} has the columns '{','.join(header)[:80]}', but a projections file has the "
            f"columns {','.join(_ID_COLUMNS)},layer_0,layer_1 and so on. {_FIX}",
        )
    return layers


def _line(path: Path, number: int, row: list[str], layers: int) -> tuple[Any, ...]:
    try:
        example, side, split, *cells = row
        values = [float(cell) for cell in cells]
        complete = len(values) == layers and all(map(math.isfinite, values))
        if complete and side in SIDES and split in SPLITS:
            return from_csv_safe(example), side, split, values
    except ValueError:
        pass
    raise CalibError(
        "invalid-content",
        f"{path}, line {number}: '{','.join(row)[:80]}' is not an example id, side, split and "
        f"{layers} numbers. {_FIX}",
    )
