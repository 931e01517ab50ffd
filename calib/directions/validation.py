"""Checks of a direction's fields, as read from a file or given by hand."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import torch

from calib.config.choices import Site

if TYPE_CHECKING:
    from calib.directions.direction import Direction

TENSORS = ("vectors", "gap", "midpoint", "norm")
"""Fields of a direction that are tensors, with a row per layer."""
MAY_BE_NAN = ("pair_cosine", "effect", "effect_low", "effect_high", "effect_strength")
"""Lists that may have nan for a layer; null in the header, because JSON has no nan."""
PER_LAYER = ("auroc", "auroc_low", "auroc_high", *MAY_BE_NAN)
"""Lists with a value per layer, or none at all."""


def problem_of(direction: "Direction") -> str | None:
    """What is wrong with the fields of a direction, in a few words; None for a valid one."""
    field_name = _invalid_field(direction)
    if field_name:
        return f"'{field_name}' is {getattr(direction, field_name)!r:.200}"
    layers = len(direction.layers)
    shapes = {name: tuple(getattr(direction, name).shape) for name in TENSORS}
    per_layer = all(shapes[name] == (layers,) for name in TENSORS if name != "vectors")
    if not per_layer or len(shapes["vectors"]) != 2 or shapes["vectors"][0] != layers:
        return f"it has {layers} layers, but tensors of shape {shapes}"
    for name in TENSORS:
        if not torch.isfinite(getattr(direction, name)).all():
            return f"'{name}' has values that are not finite"
    if ((direction.vectors.norm(dim=-1) - 1).abs() > 1e-3).any():
        return "'vectors' are not of unit length"
    return None


def _invalid_field(direction: "Direction") -> str | None:
    """Name of the first header field with an invalid value, or None."""
    strings = "checkpoint fingerprint site estimator contrast read_positions operator positions"
    for name in (*strings.split(), "pair_set", "verdict"):
        if not isinstance(getattr(direction, name), str):
            return name
    for name in PER_LAYER:
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


_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def not_floats(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Name of the first tensor that is not of floats with at least 16 bits, or None."""
    return next((name for name, tensor in tensors.items() if tensor.dtype not in _FLOATS), None)
