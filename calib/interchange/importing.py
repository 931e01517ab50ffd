"""Import third-party steering vectors as a direction for one model."""

import dataclasses
import hashlib
from pathlib import Path

import torch

from calib.directions.direction import Direction
from calib.interchange.readers import READERS, ImportedVectors
from calib.interchange.vectors import bytes_of
from calib.models.load import VLM
from calib.util.errors import CalibError

IMPORTED = "imported"
"""Estimator of a direction that was not fitted here: where the classes lie is not known."""
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class ImportedDirection:
    """A direction from a third-party file, with the file's name, digest, format and a note."""

    direction: Direction
    file: str
    sha256: str
    format: str
    note: str


def import_direction(
    path: Path, name: str, vlm: VLM, layers: list[int] | None = None, shift: int = 0
) -> ImportedDirection:
    """The vectors of a file in format ``name`` as a direction for a model.

    Unit vectors, with the length of each as its gap: strength 1 adds the vector as it was given.
    ``layers`` are those of a file that does not say; ``shift`` is added to its numbers.

    Raises CalibError when the file cannot be read as that format, or its vectors are not finite,
    all zero, or do not fit the model.
    """
    found = READERS[name](path, layers)
    vectors = _fitting(found, vlm, path, shift)
    stacked = torch.stack([vectors[layer] for layer in sorted(vectors)])
    # Through float64: the squares of large float32 values overflow.
    lengths = stacked.double().norm(dim=-1)
    unknown = torch.zeros(len(lengths))
    direction = Direction(
        vectors=(stacked.double() / lengths[:, None]).float(),
        gap=lengths.float(),
        midpoint=unknown,
        norm=unknown.clone(),
        layers=sorted(vectors),
        checkpoint=vlm.checkpoint,
        revision=vlm.revision,
        fingerprint=vlm.fingerprint,
        estimator=IMPORTED,
        contrast=UNKNOWN,
        read_positions=UNKNOWN,
    )
    shifted = f", moved by {shift:+d}" if shift else ""
    digest = hashlib.sha256(bytes_of(path)).hexdigest()
    return ImportedDirection(direction, path.name, digest, name, found.note + shifted)


def _fitting(found: ImportedVectors, vlm: VLM, path: Path, shift: int) -> dict[int, torch.Tensor]:
    """The vectors by layer of the model, each checked against it."""
    if not found.vectors:
        raise CalibError(f"'{path}' holds no vectors.")
    vectors = {layer + shift: vector for layer, vector in found.vectors.items()}
    outside = sorted(layer for layer in vectors if not 0 <= layer < vlm.num_layers)
    if outside:
        moved = f" with shift={shift}" if shift else ""
        raise CalibError(
            f"'{path}' has vectors for layers {outside}{moved}; {vlm.checkpoint} has layers 0 to "
            f"{vlm.num_layers - 1}. A direction only fits the model it was read from."
        )
    for layer, vector in sorted(vectors.items()):
        if len(vector) != vlm.width:
            raise CalibError(
                f"'{path}' holds vectors of width {len(vector)}; {vlm.checkpoint} has width "
                f"{vlm.width}. A direction only fits the model it was read from."
            )
        if not torch.isfinite(vector).all():
            raise CalibError(f"'{path}' holds values that are not finite at layer {layer}.")
        if not 0 < float(vector.double().norm()) < torch.finfo(torch.float32).max:
            raise CalibError(
                f"'{path}' holds a vector of length {float(vector.double().norm()):g} at layer "
                f"{layer}: that is no direction."
            )
    return vectors


def origin(imported: ImportedDirection) -> str:
    """Where it came from and what was assumed, for people."""
    return (
        f"Imported from {imported.file} ({imported.format}, SHA-256 {imported.sha256}): "
        f"{imported.note}. Strength 1 adds each vector as the file has it. The file does not say "
        "where the two classes lie, so only operators that need not know it can use it."
    )
