"""A direction and its file: safetensors plus a JSON header that says what it means.

A bare vector is dangerous: read at another layer, added where it should be ablated, or scaled in
another unit it still runs and means nothing. The header carries what a reader must check.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from calib.config.choices import Site
from calib.directions.separation import auroc_interval
from calib.util.errors import CalibError
from calib.util.files import write_atomically

SCHEMA = 2
HEADER = "calib_direction"


@dataclass(frozen=True)
class Direction:
    """One unit vector per layer, the gap that makes strength dimensionless, and their origin."""

    vectors: torch.Tensor  # [layers, width] float32, unit length
    gap: torch.Tensor  # [layers] float32, activation units
    midpoint: torch.Tensor
    """Projection on the vector halfway between those of the class means. # [layers] float32"""
    norm: torch.Tensor
    """Mean norm of the activations the direction was fitted on. # [layers] float32"""
    layers: list[int]
    """0-based decoder blocks that the rows of ``vectors`` belong to."""
    checkpoint: str
    revision: str | None
    fingerprint: str
    site: str = "residual"
    """Where in a decoder block it was read and is added: residual, heads or mlp."""
    estimator: str = "mean_difference"
    contrast: str = "safety"
    read_positions: str = "last_prompt"
    operator: str = "add"
    unit: str = "gap"
    """1.0 moves an activation by ``gap`` along the vector."""
    strength: float = 1.0
    """Default strength: the operating point where one was chosen."""
    chosen_layer: int | None = None
    """Layer of the operating point, where one was chosen."""
    positions: str = ""
    """Tokens that are edited by default; "" where nobody has said."""
    pair_set: str = ""
    """Hash of the pairs it was fitted on."""
    pairs: int = 0
    """Examples on the smaller side of the contrast; with contrast safety, the pairs."""
    auroc: list[float] = field(default_factory=list)
    """Held-out AUROC of the projection, per layer."""
    auroc_pairs: int = 0
    """Held-out examples on the smaller side, behind the AUROC."""
    pair_cosine: list[float] = field(default_factory=list)
    """Mean cosine between the differences of two pairs, per layer; nan where it is undefined."""
    effect: list[float] = field(default_factory=list)
    """Rise of the share of refusals from the negative to the positive strength that a budget of KL
    allows, per layer; nan where it allows none."""
    effect_low: list[float] = field(default_factory=list)
    effect_high: list[float] = field(default_factory=list)
    """95% interval of the effect, per layer; empty in files from before it was kept."""
    effect_strength: list[float] = field(default_factory=list)
    """That positive strength, in gap units."""
    effect_kl: float | None = None
    """The budget, in nats."""
    effect_n: int = 0
    """Examples behind the effect."""

    @property
    def width(self) -> int:
        """Width of the vectors: that of the residual stream only where the site is."""
        return int(self.vectors.shape[1])

    @property
    def auroc_intervals(self) -> list[tuple[float, float]]:
        """95% interval of each layer's AUROC."""
        n = self.auroc_pairs
        return [auroc_interval(value, n, n) for value in self.auroc]

    def at(self, layer: int, strength: float) -> torch.Tensor:
        """The vector to add at ``layer`` for a strength in gap units. # [width] float32

        Raises CalibError when the direction has no such layer.
        """
        row = self.row(layer)
        return self.vectors[row] * (self.gap[row] * strength)

    def row(self, layer: int) -> int:
        """The row of ``vectors`` that belongs to ``layer``.

        Raises CalibError when the direction has no such layer.
        """
        if layer not in self.layers:
            raise CalibError(
                f"layer {layer} is not in the direction, which has layers {self.layers}. "
                "Choose one of those, or fit the direction again with that layer."
            )
        return self.layers.index(layer)

    def of_layers(self, layers: Sequence[int]) -> "Direction":
        """The direction with these layers only.

        Raises CalibError when it lacks one of them.
        """
        rows = [self.row(layer) for layer in layers]
        per_layer: dict[str, Any] = {name: getattr(self, name)[rows] for name in _TENSORS}
        for name in ("auroc", *_UNDEFINED):
            values = getattr(self, name)
            per_layer[name] = [values[row] for row in rows] if values else []
        return replace(self, layers=list(layers), **per_layer)


_TENSORS = ("vectors", "gap", "midpoint", "norm")
_UNDEFINED = ("pair_cosine", "effect", "effect_low", "effect_high", "effect_strength")
"""Lists with a nan where a layer has no such number: null in the header, as JSON has no nan."""


def write_direction(path: str | Path, direction: Direction) -> None:
    """Write the file, replacing what is there atomically.

    Raises CalibError when it cannot be written.
    """
    header = {k: v for k, v in asdict(direction).items() if k not in _TENSORS}
    for name in _UNDEFINED:
        header[name] = [None if math.isnan(value) else value for value in header[name]]
    written = json.dumps({"schema": SCHEMA, **header}, sort_keys=True, allow_nan=False)
    metadata = {HEADER: written}
    tensors = {name: getattr(direction, name).contiguous() for name in _TENSORS}
    write_atomically(path, save(tensors, metadata=metadata))


def read_direction(path: str | Path) -> Direction:
    """Read and check a direction file.

    Raises CalibError when the file is missing, is no direction file, has another schema, or holds
    tensors of the wrong shape or with values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise CalibError(f"no direction file at '{path}'. Give the path of a .safetensors file.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CalibError(f"'{path}' is not a readable safetensors file: {error}") from error
    if HEADER not in metadata:
        raise CalibError(
            f"'{path}' has no calib header, so its layers, unit and operator are unknown. "
            "Use a file written by calib.extract, calib.sweep or calib.export."
        )
    try:
        header = json.loads(metadata[HEADER])
    except ValueError as error:
        raise CalibError(f"'{path}' has a broken calib header: {error}.") from error
    return _checked(path, header, tensors)


def _checked(path: Path, header: Any, tensors: dict[str, torch.Tensor]) -> Direction:
    if not isinstance(header, dict):
        raise CalibError(f"'{path}' has a broken calib header: it is not a table of settings.")
    schema = header.pop("schema", None)
    if schema != SCHEMA:
        raise CalibError(
            f"'{path}' has direction schema {schema}; this version of calib reads {SCHEMA}."
        )
    for name in _UNDEFINED:
        if isinstance(header.get(name), list):
            header[name] = [math.nan if value is None else value for value in header[name]]
    try:
        direction = Direction(**{**header, **tensors})
    except TypeError as error:
        raise CalibError(f"'{path}' is not a whole direction file: {error}") from error
    wrong = _wrong_field(direction)
    if wrong:
        value = getattr(direction, wrong)
        raise CalibError(
            f"'{path}' has {value!r} as '{wrong}' in its header, which makes no sense there. "
            "Fit or export the direction again."
        )
    layers = len(direction.layers)
    shapes = {name: tuple(getattr(direction, name).shape) for name in _TENSORS}
    per_layer = all(shapes[name] == (layers,) for name in _TENSORS if name != "vectors")
    if not per_layer or len(shapes["vectors"]) != 2 or shapes["vectors"][0] != layers:
        raise CalibError(f"'{path}' names {layers} layers but holds tensors of shape {shapes}.")
    for name in _TENSORS:
        if not torch.isfinite(getattr(direction, name)).all():
            raise CalibError(f"'{path}' holds values that are not finite in '{name}'.")
    if ((direction.vectors.norm(dim=-1) - 1).abs() > 1e-3).any():
        raise CalibError(f"'{path}' holds vectors that are not of unit length.")
    return direction


def _wrong_field(direction: Direction) -> str | None:
    """The name of a header field with a value that cannot be meant, if there is one."""
    named = "checkpoint fingerprint site estimator contrast read_positions operator positions"
    for name in (*named.split(), "pair_set"):
        if not isinstance(getattr(direction, name), str):
            return name
    layers, auroc, effect = direction.layers, direction.auroc, direction.effect
    whole = isinstance(layers, list) and all(type(layer) is int and layer >= 0 for layer in layers)
    lengths = (0, len(layers)) if whole else ()
    kl, low, high = direction.effect_kl, direction.effect_low, direction.effect_high
    sound = {
        "site": direction.site in get_args(Site),
        "revision": direction.revision is None or isinstance(direction.revision, str),
        "layers": whole and bool(layers) and layers == sorted(set(layers)),
        "unit": direction.unit == "gap",
        "strength": _is_number(direction.strength),
        "chosen_layer": direction.chosen_layer is None or type(direction.chosen_layer) is int,
        "pairs": type(direction.pairs) is int,
        "auroc": _is_list(auroc, lengths, 0, 1),
        "auroc_pairs": type(direction.auroc_pairs) is int
        and (not auroc or direction.auroc_pairs > 0),
        "pair_cosine": _is_list(direction.pair_cosine, lengths, -1, 1, undefined=True),
        "effect": _is_list(effect, lengths, undefined=True),
        "effect_strength": _is_list(direction.effect_strength, lengths, undefined=True)
        and len(direction.effect_strength) == len(effect),
        "effect_low": _is_list(low, lengths if effect else (0,), undefined=True),
        "effect_high": _is_list(high, lengths if effect else (0,), undefined=True)
        and bool(low) == bool(high),
        "effect_kl": not effect if kl is None else _is_number(kl) and kl > 0,
        "effect_n": type(direction.effect_n) is int and (not effect or direction.effect_n > 0),
    }
    return next((name for name, fine in sound.items() if not fine), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(
    values: Any,
    lengths: tuple[int, ...],
    low: float = -math.inf,
    high: float = math.inf,
    undefined: bool = False,
) -> bool:
    """Whether it lists as many numbers between ``low`` and ``high``, or nan where that may be."""
    return (
        isinstance(values, list)
        and len(values) in lengths
        and all(
            (_is_number(value) and low <= value <= high)
            or (undefined and isinstance(value, float) and math.isnan(value))
            for value in values
        )
    )
