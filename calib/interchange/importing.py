"""Import third-party steering vectors as a direction for one model."""

import dataclasses
import hashlib
from pathlib import Path

import torch

from calib.directions.direction import Direction
from calib.directions.origin import origin_of
from calib.interchange.array_files import vector_files
from calib.interchange.readers import READERS, ImportedVectors
from calib.interchange.vectors import read_file
from calib.models.load import VLM
from calib.util.errors import CalibError

IMPORTED = "imported"
"""Estimator of an imported direction. The positions of its classes are unknown."""
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class ImportedDirection:
    """A direction from a third-party file."""

    direction: Direction
    file: str
    """Name of the file or folder."""
    sha256: str
    """Digest of the file, or of the folder's files with their names."""
    format: str
    """One of READERS."""
    note: str
    """How the file's layer numbers were interpreted."""


def import_direction(
    path: Path, format_name: str, vlm: VLM, layers: list[int] | None = None, shift: int = 0
) -> ImportedDirection:
    """Read a file in format ``format_name`` as a direction for a model.

    The direction has unit vectors and the vectors' lengths as gaps, so that strength 1 adds each
    vector as stored. ``layers`` are required if the file does not name them; ``shift`` is added to
    the file's layer numbers.

    Raises CalibError if the file cannot be read in that format, or its vectors are zero, not finite
    or do not fit the model.
    """
    imported = READERS[format_name](path, layers)
    vectors = _fitting_vectors(imported, vlm, path, shift)
    stacked = torch.stack([vectors[layer] for layer in sorted(vectors)])
    # In float64, because the squares of large float32 values overflow.
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
        origin=origin_of(vlm),
    )
    shifted = f", shifted by {shift:+d}" if shift else ""
    note = imported.note + shifted
    return ImportedDirection(direction, path.name, _digest(path, format_name), format_name, note)


def _digest(path: Path, format_name: str) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if not path.is_dir():
        return hashlib.sha256(read_file(path)).hexdigest()
    digest = hashlib.sha256()
    for file in vector_files(path, format_name):
        digest.update(file.name.encode() + b"\0" + read_file(file))
    return digest.hexdigest()


def _fitting_vectors(
    imported: ImportedVectors, vlm: VLM, path: Path, shift: int
) -> dict[int, torch.Tensor]:
    """The vectors by layer of the model, after checks of layer, width and length."""
    if not imported.vectors:
        raise CalibError("invalid-content", f"'{path}' contains no vectors.")
    vectors = {layer + shift: vector for layer, vector in imported.vectors.items()}
    outside = sorted(layer for layer in vectors if not 0 <= layer < vlm.num_layers)
    if outside:
        shifted = f" after shift={shift}" if shift else ""
        raise CalibError(
            "mismatch",
            f"'{path}' has vectors for layers {outside}{shifted}; {vlm.checkpoint} has layers 0 to "
            f"{vlm.num_layers - 1}. A direction only fits the model it was read from.",
        )
    for layer, vector in sorted(vectors.items()):
        if len(vector) != vlm.width:
            raise CalibError(
                "mismatch",
                f"'{path}' has vectors of width {len(vector)}; {vlm.checkpoint} has width "
                f"{vlm.width}. A direction only fits the model it was read from.",
            )
        if not torch.isfinite(vector).all():
            raise CalibError(
                "not-finite", f"'{path}' contains values that are not finite at layer {layer}."
            )
        length = float(vector.double().norm())
        if not 0 < length < torch.finfo(torch.float32).max:
            raise CalibError(
                "invalid-content",
                f"'{path}' has a vector of length {length:g} at layer {layer}, which is not a "
                "direction.",
            )
    return vectors


def origin(imported: ImportedDirection) -> str:
    """Provenance and assumptions of an imported direction, as sentences."""
    return (
        f"Imported from {imported.file} ({imported.format}, SHA-256 {imported.sha256}): "
        f"{imported.note}. Strength 1 adds each vector as stored in the file. The file does not "
        "contain the positions of the two classes, so operators that need them cannot be used."
    )
