"""A direction and its file: safetensors with a JSON header.

A vector without metadata is easy to misuse: read at another layer, added instead of ablated, or
scaled in another unit, it runs without an error and its results are meaningless. The header
records everything that a reader must check.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from calib.config.choices import Site
from calib.directions.checksum import (
    CHECKSUM,
    TABLES,
    checksum,
    require_tables,
    tables_beside,
)
from calib.directions.separation import auroc_interval
from calib.util.errors import CalibError
from calib.util.files import home_expanded, write_atomically
from calib.util.reading import parse_json

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

        Raises CalibError if the direction does not have the layer.
        """
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

    def select_layers(self, layers: Sequence[int]) -> "Direction":
        """The direction at these layers only.

        Raises CalibError if the direction does not have one of them.
        """
        rows = [self.row(layer) for layer in layers]
        per_layer: dict[str, Any] = {name: getattr(self, name)[rows] for name in _TENSORS}
        for name in ("auroc", "auroc_low", "auroc_high", *_MAY_BE_NAN):
            values = getattr(self, name)
            per_layer[name] = [values[row] for row in rows] if values else []
        return replace(self, layers=list(layers), **per_layer)

    def of_layers(self, layers: Sequence[int]) -> "Direction":
        """Deprecated name of ``select_layers``."""
        message = "Direction.of_layers is now Direction.select_layers"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.select_layers(layers)


_TENSORS = ("vectors", "gap", "midpoint", "norm")
_MAY_BE_NAN = ("pair_cosine", "effect", "effect_low", "effect_high", "effect_strength")
"""Lists that may have nan for a layer; null in the header, because JSON has no nan."""


def write_direction(path: str | Path, direction: Direction) -> None:
    """Write a direction file; an existing file is replaced atomically.

    The projections and the separation by part beside it must be written before: the file records
    their checksums. Raises CalibError if the file cannot be written.
    """
    path = home_expanded(path)
    header = {k: v for k, v in asdict(direction).items() if k not in (*_TENSORS, "origin")}
    if not direction.verdict:  # versions that do not know the field can read the file
        del header["verdict"]
    for name in _MAY_BE_NAN:
        header[name] = [None if math.isnan(value) else value for value in header[name]]
    text = json.dumps({"schema": SCHEMA, **header}, sort_keys=True, allow_nan=False)
    tensors = {name: getattr(direction, name).contiguous() for name in _TENSORS}
    metadata = {HEADER: text}
    if direction.origin:
        metadata[ORIGIN] = json.dumps(direction.origin, sort_keys=True)
    if tables := tables_beside(path):
        metadata[TABLES] = json.dumps(tables)
    metadata[CHECKSUM] = checksum(tensors, metadata)
    write_atomically(path, _in_order(save(tensors, metadata=metadata)))


def _in_order(file: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order.

    safetensors writes them in random order, but a resumed run writes identical files.
    """
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def read_direction(path: str | Path) -> Direction:
    """Read and validate a direction file.

    Raises CalibError if the file does not exist, is not a direction file, differs from its
    checksum, has another schema version, or contains invalid metadata, shapes or values; and if a
    table beside it differs from its checksum.
    """
    path = home_expanded(path)
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
    if wrong := _not_floats(tensors):
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


_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def _not_floats(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Name of the first tensor that is not of floats with at least 16 bits, or None."""
    return next((name for name, tensor in tensors.items() if tensor.dtype not in _FLOATS), None)


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
    for name in _MAY_BE_NAN:
        if isinstance(header.get(name), list):
            header[name] = [math.nan if value is None else value for value in header[name]]
    if tensors.keys() != set(_TENSORS):
        found, expected = ", ".join(sorted(tensors)) or "none", ", ".join(_TENSORS)
        raise _invalid(path, f"its tensors are {found}, and must be {expected}")
    try:
        direction = Direction(**{**header, **tensors})
    except TypeError as error:
        raise _invalid(path, str(error)) from error
    field_name = _invalid_field(direction)
    if field_name:
        raise _invalid(path, f"'{field_name}' is {getattr(direction, field_name)!r:.200}")
    layers = len(direction.layers)
    shapes = {name: tuple(getattr(direction, name).shape) for name in _TENSORS}
    per_layer = all(shapes[name] == (layers,) for name in _TENSORS if name != "vectors")
    if not per_layer or len(shapes["vectors"]) != 2 or shapes["vectors"][0] != layers:
        raise _invalid(path, f"it has {layers} layers, but tensors of shape {shapes}")
    for name in _TENSORS:
        if not torch.isfinite(getattr(direction, name)).all():
            raise _invalid(path, f"'{name}' has values that are not finite")
    if ((direction.vectors.norm(dim=-1) - 1).abs() > 1e-3).any():
        raise _invalid(path, "'vectors' are not of unit length")
    return direction


def _invalid_field(direction: Direction) -> str | None:
    """Name of the first header field with an invalid value, or None."""
    strings = "checkpoint fingerprint site estimator contrast read_positions operator positions"
    for name in (*strings.split(), "pair_set", "verdict"):
        if not isinstance(getattr(direction, name), str):
            return name
    for name in ("auroc", "auroc_low", "auroc_high", *_MAY_BE_NAN):
        if not isinstance(getattr(direction, name), list):
            return name
    layers, auroc, effect = direction.layers, direction.auroc, direction.effect
    are_layers = isinstance(layers, list) and all(type(k) is int and k >= 0 for k in layers)
    lengths = (0, len(layers)) if are_layers else ()
    kl, low, high = direction.effect_kl, direction.effect_low, direction.effect_high
    valid = {
        "site": direction.site in get_args(Site),
        "revision": direction.revision is None or isinstance(direction.revision, str),
        "layers": are_layers and bool(layers) and layers == sorted(set(layers)),
        "unit": direction.unit == "gap",
        "strength": _is_number(direction.strength),
        "chosen_layer": direction.chosen_layer is None or type(direction.chosen_layer) is int,
        "pairs": type(direction.pairs) is int,
        "auroc": _is_list(auroc, lengths, 0, 1),
        "auroc_pairs": type(direction.auroc_pairs) is int
        and (not auroc or direction.auroc_pairs > 0),
        "auroc_clusters": type(direction.auroc_clusters) is int and direction.auroc_clusters >= 0,
        "auroc_low": _is_list(direction.auroc_low, lengths, 0, 1),
        "auroc_high": _is_list(direction.auroc_high, lengths, 0, 1)
        and len(direction.auroc_high) == len(direction.auroc_low),
        "pair_cosine": _is_list(direction.pair_cosine, lengths, -1, 1, nan_allowed=True),
        "effect": _is_list(effect, lengths, nan_allowed=True),
        "effect_strength": _is_list(direction.effect_strength, lengths, nan_allowed=True)
        and len(direction.effect_strength) == len(effect),
        "effect_low": _is_list(low, lengths if effect else (0,), nan_allowed=True),
        "effect_high": _is_list(high, lengths if effect else (0,), nan_allowed=True)
        and bool(low) == bool(high),
        "effect_kl": not effect if kl is None else _is_number(kl) and kl > 0,
        "effect_n": type(direction.effect_n) is int and (not effect or direction.effect_n > 0),
    }
    return next((name for name, is_valid in valid.items() if not is_valid), None)


def _is_number(value: Any) -> bool:
    try:
        finite = isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False
    return finite and not isinstance(value, bool)


def _is_list(
    values: Any,
    lengths: tuple[int, ...],
    low: float = -math.inf,
    high: float = math.inf,
    nan_allowed: bool = False,
) -> bool:
    """Whether ``values`` is a list of one of the lengths, with numbers from ``low`` to ``high``."""
    return (
        isinstance(values, list)
        and len(values) in lengths
        and all(
            (_is_number(value) and low <= value <= high)
            or (nan_allowed and isinstance(value, float) and math.isnan(value))
            for value in values
        )
    )
