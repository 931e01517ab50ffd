"""A direction and its file: safetensors with a JSON header.

A vector without metadata is easy to misuse: read at another layer, added instead of ablated, or
scaled in another unit, it runs without an error and its results are meaningless. The header
records everything that a reader must check.
"""

import json
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from calib.config.checks import finite_number
from calib.directions import arithmetic
from calib.directions.checksum import (
    CHECKSUM,
    TABLES,
    checksum,
    in_order,
    require_tables,
    tables_beside,
)
from calib.directions.separation import auroc_interval
from calib.directions.validation import MAY_BE_NAN, PER_LAYER, TENSORS, not_floats, problem_of
from calib.models.layers import layer_numbers
from calib.util.errors import CalibError
from calib.util.files import home_expanded, write_atomically
from calib.util.reading import parse_json
from calib.util.terminal import terminal_safe

SCHEMA = 2
HEADER = "calib_direction"
ORIGIN = "calib_origin"
"""Metadata key of the origin, apart from the header, whose fields earlier versions know."""


@dataclass(frozen=True)
class Direction:
    """A unit vector per layer, the gap that makes strength dimensionless, and their provenance."""

    vectors: torch.Tensor  # [layers, width] float32, unit length
    gap: torch.Tensor  # [layers] float32, activation units
    midpoint: torch.Tensor
    """Mean of the two class means' projections on the vector. # [layers] float32"""
    norm: torch.Tensor
    """Mean norm of the activations the direction was fitted on. # [layers] float32"""
    layers: list[int]
    """0-based decoder blocks of the rows of ``vectors``."""
    checkpoint: str
    revision: str | None
    fingerprint: str
    site: str = "residual"
    """Site where activations were read and are edited: residual, heads or mlp."""
    estimator: str = "mean_difference"
    contrast: str = "safety"
    read_positions: str = "last_prompt"
    operator: str = "add"
    unit: str = "gap"
    """Unit of strength. "gap": strength 1.0 moves an activation by ``gap`` along the vector."""
    strength: float = 1.0
    """Default strength: that of the operating point, if one was chosen."""
    chosen_layer: int | None = None
    """Layer of the operating point, if one was chosen."""
    positions: str = ""
    """Positions that are edited by default; "" if unspecified."""
    verdict: str = ""
    """Verdict of the run that it was exported from, if that is not yes; "" otherwise."""
    pair_set: str = ""
    """Hash of the examples that the direction was fitted on."""
    pairs: int = 0
    """Examples on the smaller side of the contrast: with contrast=safety, the number of pairs."""
    auroc: list[float] = field(default_factory=list)
    """AUROC of the projections of held-out examples, per layer."""
    auroc_pairs: int = 0
    """Held-out examples on the smaller side of the contrast."""
    auroc_clusters: int = 0
    """Independent clusters of these examples; 0 in files of earlier versions."""
    auroc_low: list[float] = field(default_factory=list)
    auroc_high: list[float] = field(default_factory=list)
    """95% interval of the AUROC by cluster, per layer; empty in files of earlier versions."""
    pair_cosine: list[float] = field(default_factory=list)
    """Mean cosine between the differences of two pairs, per layer; nan if undefined."""
    effect: list[float] = field(default_factory=list)
    """Increase in the refusal rate from the negative to the positive strength that the KL budget
    allows, per layer; nan if it allows no strength."""
    effect_low: list[float] = field(default_factory=list)
    effect_high: list[float] = field(default_factory=list)
    """95% interval of the effect, per layer; empty in files of earlier versions."""
    effect_strength: list[float] = field(default_factory=list)
    """The positive strength that the KL budget allows, in gap units, per layer."""
    effect_kl: float | None = None
    """KL budget in nats."""
    effect_n: int = 0
    """Examples that the effect was measured on."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Weights and settings of the model by field (calib.directions.origin); empty in files of
    earlier versions, which fit a model of the same fingerprint only."""

    __array_ufunc__ = None
    """numpy leaves ``np.float64(2) * direction`` to ``__rmul__``."""

    def __repr__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        count = len(self.layers)
        layers = f"layer {first}" if count == 1 else f"{count} layers {first} to {last}"
        text = f"{self.contrast} ({self.estimator}) of {self.checkpoint}, {layers}, {self.site}"
        gaps = [f"{float(gap):.3g}" for gap in (self.gap.min(), self.gap.max())]
        text += f", gap {' to '.join(dict.fromkeys(gaps))}"
        if self.auroc:
            best = max(range(count), key=lambda row: self.auroc[row])
            text += f", AUROC {self.auroc[best]:.2f} at layer {self.layers[best]}"
        return terminal_safe(f"<Direction {text}>")  # files of others may have any text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Direction):
            return NotImplemented
        ours, theirs = vars(self), vars(other)
        rest = ours.keys() - set(TENSORS)
        return all(torch.equal(ours[name], theirs[name]) for name in TENSORS) and all(
            ours[name] == theirs[name] or repr(ours[name]) == repr(theirs[name])
            for name in rest  # of equal representations, nan equals nan
        )

    def __neg__(self) -> "Direction":
        return arithmetic.scaled(self, -1)

    def __mul__(self, factor: float) -> "Direction":
        return arithmetic.scaled(self, factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Direction":
        return arithmetic.divided(self, divisor)

    def __add__(self, other: "Direction") -> "Direction":
        return arithmetic.total(self, other)

    def __radd__(self, other: Any) -> "Direction":
        # sum([a, b]) starts from 0.
        return self if type(other) is int and other == 0 else arithmetic.total(self, other)

    def __sub__(self, other: "Direction") -> "Direction":
        arithmetic.require_same_space(self, other)
        return arithmetic.total(self, -other)

    def cosine(self, other: "Direction") -> torch.Tensor:
        """Cosine with another direction of the model at each layer. # [layers] float64

        Raises CalibError for another model, other layers, or another site.
        """
        return arithmetic.cosine(self, other)

    def save(self, path: str | Path) -> None:
        """Write the direction to a file; see write_direction."""
        write_direction(path, self)

    @classmethod
    def load(cls, path: str | Path) -> "Direction":
        """Read a direction file; see read_direction."""
        return read_direction(path)

    @property
    def width(self) -> int:
        """Width of the activations at the site."""
        return int(self.vectors.shape[1])

    @property
    def auroc_intervals(self) -> list[tuple[float, float]]:
        """95% interval of each layer's AUROC.

        In files of earlier versions, each example or cluster counts as one observation.
        """
        if self.auroc_low:
            return list(zip(self.auroc_low, self.auroc_high, strict=True))
        n = self.auroc_clusters or self.auroc_pairs
        return [auroc_interval(value, n, n) for value in self.auroc]

    def at(self, layer: int, strength: float) -> torch.Tensor:
        """The vector to add at ``layer`` for a strength in gap units. # [width] float32

        Raises CalibError if the direction does not have the layer, or the strength is no number.
        """
        finite_number("strength", strength)
        row = self.row(layer)
        return self.vectors[row] * (self.gap[row] * strength)

    def row(self, layer: int) -> int:
        """Index of ``layer`` in ``vectors``.

        Raises CalibError if the direction does not have the layer.
        """
        if layer not in self.layers:
            raise CalibError(
                "invalid-value",
                f"layer {layer} is not in the direction, which has layers {self.layers}. Choose "
                f"one of these layers, or fit a direction at layer {layer}.",
            )
        return self.layers.index(layer)

    def select_layers(self, layers: int | Iterable[int]) -> "Direction":
        """The direction at these layers only.

        Raises CalibError if the direction does not have one of them, and for no layers.
        """
        numbers = layer_numbers(layers)
        rows = [self.row(layer) for layer in numbers]
        per_layer: dict[str, Any] = {name: getattr(self, name)[rows] for name in TENSORS}
        for name in PER_LAYER:
            values = getattr(self, name)
            per_layer[name] = [values[row] for row in rows] if values else []
        return replace(self, layers=numbers, **per_layer)

    def of_layers(self, layers: Sequence[int]) -> "Direction":
        """Deprecated name of ``select_layers``."""
        message = "Direction.of_layers is now Direction.select_layers"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.select_layers(layers)


def write_direction(path: str | Path, direction: Direction) -> None:
    """Write a direction file; an existing file is replaced atomically.

    The projections and the separation by part beside it must be written before: the file records
    their checksums. Raises CalibError if the file cannot be written.
    """
    if not isinstance(direction, Direction):
        raise CalibError(
            "invalid-value",
            f"write_direction writes a calib.Direction, not {type(direction).__name__}. Give the "
            "path first, then what calib.fit returned.",
        )
    path = _path(path)
    header = {k: v for k, v in asdict(direction).items() if k not in (*TENSORS, "origin")}
    if not direction.verdict:  # versions that do not know the field can read the file
        del header["verdict"]
    for name in MAY_BE_NAN:
        header[name] = [None if math.isnan(value) else value for value in header[name]]
    text = json.dumps({"schema": SCHEMA, **header}, sort_keys=True, allow_nan=False)
    tensors = {name: getattr(direction, name).contiguous() for name in TENSORS}
    metadata = {HEADER: text}
    if direction.origin:
        metadata[ORIGIN] = json.dumps(direction.origin, sort_keys=True)
    if tables := tables_beside(path):
        metadata[TABLES] = json.dumps(tables)
    metadata[CHECKSUM] = checksum(tensors, metadata)
    write_atomically(path, in_order(save(tensors, metadata=metadata)))


def _path(path: str | Path) -> Path:
    if isinstance(path, str | Path) and str(path).strip():
        return home_expanded(path)
    raise CalibError(
        "invalid-value",
        f"The path of a direction file is {path!r:.80}. Give a text or a Path that ends in "
        ".safetensors.",
    )


def read_direction(path: str | Path) -> Direction:
    """Read and validate a direction file.

    Raises CalibError if the file does not exist, is not a direction file, differs from its
    checksum, has another schema version, or contains invalid metadata, shapes or values; and if a
    table beside it differs from its checksum.
    """
    path = _path(path)
    if not path.is_file():
        raise CalibError(
            "not-found",
            f"no direction file at '{path}'. Give the path of a .safetensors file.",
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CalibError(
            "unreadable", f"'{path}' cannot be read as a safetensors file: {error}."
        ) from error
    if wrong := not_floats(tensors):
        raise _invalid(path, f"'{wrong}' is {tensors[wrong].dtype}, and must be float32")
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(tensors, metadata):
        raise CalibError(
            "invalid-content",
            f"'{path}' does not match its checksum ({CHECKSUM}): the disk or another program "
            "changed it. Delete it and run the command that wrote it again, or restore a copy.",
        )
    if HEADER not in metadata:
        raise CalibError(
            "invalid-content",
            f"'{path}' has no calib header, so its layers, unit and operator are unknown. Use a "
            "file written by calib.extract, calib.sweep or calib.export.",
        )
    try:
        header = parse_json(metadata[HEADER])
        origin, tables = (parse_json(metadata.get(key, "{}")) for key in (ORIGIN, TABLES))
    except ValueError as error:
        raise _invalid(path, f"its calib header is not valid JSON: {error}") from error
    for key, content in ((ORIGIN, origin), (TABLES, tables)):
        if not isinstance(content, dict):
            raise _invalid(path, f"its {key} is not a JSON object")
    require_tables(path, tables)
    return replace(_validated(path, header, tensors), origin=origin)


def _invalid(path: Path, problem: str) -> CalibError:
    return CalibError(
        "invalid-content",
        f"'{path}' is not a valid direction file: {problem}. Fit or export the direction again.",
    )


def _validated(path: Path, header: Any, tensors: dict[str, torch.Tensor]) -> Direction:
    if not isinstance(header, dict):
        raise _invalid(path, "its calib header is not a JSON object")
    schema = header.pop("schema", None)
    if schema != SCHEMA:
        raise _invalid(path, f"it has schema {schema}, and this version of calib reads {SCHEMA}")
    for name in MAY_BE_NAN:
        if isinstance(header.get(name), list):
            header[name] = [math.nan if value is None else value for value in header[name]]
    if tensors.keys() != set(TENSORS):
        found, expected = ", ".join(sorted(tensors)) or "none", ", ".join(TENSORS)
        raise _invalid(path, f"its tensors are {found}, and must be {expected}")
    try:
        direction = Direction(**{**header, **tensors})
    except TypeError as error:
        raise _invalid(path, str(error)) from error
    if problem := problem_of(direction):
        raise _invalid(path, problem)
    return direction
