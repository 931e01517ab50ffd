"""Multiples, sums and cosines of directions.

A direction stands for the vector that strength 1 adds at each layer, gap x unit vector. Multiples
and sums are those of these vectors: ``(2 * d).at(layer, 1)`` is ``2 * d.at(layer, 1)``, and
``(a + b).at(layer, s)`` is ``a.at(layer, s) + b.at(layer, s)``. Midpoints follow: an activation at
the midpoint of both directions is at the midpoint of their sum.
"""

import math
import numbers
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from calib.util.errors import CalibError

if TYPE_CHECKING:
    from calib.directions.direction import Direction

NEGATED = "negated "
"""Beginning of the contrast of a direction whose sides were exchanged."""
_UNMEASURED: dict[str, Any] = {
    "auroc": [], "auroc_low": [], "auroc_high": [], "auroc_pairs": 0, "auroc_clusters": 0,
    "pair_cosine": [], "effect": [], "effect_low": [], "effect_high": [], "effect_strength": [],
    "effect_kl": None, "effect_n": 0, "verdict": "",
}  # fmt: skip
"""Fields of a direction that nothing was measured for."""
_NO_EFFECT = {name: value for name, value in _UNMEASURED.items() if name.startswith("effect")}
_SHARED = ("layers", "site", "operator", "unit", "read_positions", "positions")
"""Fields in which the terms of a sum must be equal."""


def scaled(direction: "Direction", factor: Any) -> "Direction":
    """A multiple of a direction; a negative factor exchanges the two sides of its contrast.

    Raises CalibError (invalid-value) for a factor that is no finite number other than 0, and for
    one at which a gap is too large or too small for its type.
    """
    number = _number(factor)
    if number is None or not math.isfinite(number) or number == 0:
        raise CalibError(
            "invalid-value",
            f"A direction cannot be multiplied by {_shown(factor)}. Give a finite number other "
            "than 0; strength=0 switches a direction off.",
        )
    gap = direction.gap * abs(number)
    if not (gap.isfinite() & (gap > 0)).all():
        raise CalibError(
            "invalid-value",
            f"A direction cannot be multiplied by {number:g}: a gap would be 0 or infinite. Give a "
            "number nearer to 1.",
        )
    same = replace(direction, gap=gap, **_NO_EFFECT, verdict="")
    return same if number > 0 else _negated(same)


def divided(direction: "Direction", divisor: Any) -> "Direction":
    """A direction divided by a number. Raises CalibError as ``scaled`` does."""
    number = _number(divisor)
    if not number or not math.isfinite(number):
        raise CalibError(
            "invalid-value",
            f"A direction cannot be divided by {_shown(divisor)}. Give a finite number other than "
            "0.",
        )
    return scaled(direction, 1 / number)


def _negated(direction: "Direction") -> "Direction":
    """The direction with its two sides exchanged: what separates them is as before."""
    contrast = direction.contrast
    return replace(
        direction,
        vectors=-direction.vectors,
        midpoint=-direction.midpoint,
        contrast=contrast[len(NEGATED) :] if contrast.startswith(NEGATED) else NEGATED + contrast,
    )


def total(first: "Direction", second: Any) -> "Direction":
    """The sum of two directions. Nothing was measured for it, so it has no AUROC and no effects.

    Raises CalibError (invalid-value) if ``second`` is no direction, (mismatch) if the two are of
    other models, layers, sites, operators or positions, and (no-solution) if they cancel out.
    """
    require_same_space(first, second)
    for name in _SHARED:
        ours, theirs = getattr(first, name), getattr(second, name)
        if ours != theirs:
            advice = (
                "Take the layers that both have, with select_layers([...])"
                if name == "layers"
                else "Fit both alike"
            )
            raise CalibError(
                "mismatch",
                f"The directions cannot be added: {name} is {ours!r} and {theirs!r}. {advice}.",
            )
    vectors = first.vectors.double() * first.gap.double()[:, None]
    vectors += second.vectors.double() * second.gap.double()[:, None]
    gap = vectors.norm(dim=-1)  # [layers]
    least = 1e-6 * torch.maximum(first.gap, second.gap)
    if (gap <= least).any():
        layer = first.layers[int((gap <= least).int().argmax())]
        raise CalibError(
            "no-solution",
            f"The directions cancel out at layer {layer}: their sum has length 0, so there is "
            "nothing to steer along.",
        )
    midpoint = first.gap * first.midpoint + second.gap * second.midpoint
    contrasts, estimators = (
        list(dict.fromkeys((getattr(first, name), getattr(second, name))))
        for name in ("contrast", "estimator")
    )
    same_strength = first.strength == second.strength
    same_layer = first.chosen_layer == second.chosen_layer
    return replace(
        first,
        vectors=(vectors / gap[:, None]).float(),
        gap=gap.float(),
        midpoint=(midpoint.double() / gap).float(),
        norm=(first.norm + second.norm) / 2,
        contrast=" + ".join(contrasts),
        estimator=" + ".join(estimators),
        strength=first.strength if same_strength else 1.0,
        chosen_layer=first.chosen_layer if same_layer else None,
        pair_set=first.pair_set if first.pair_set == second.pair_set else "",
        pairs=min(first.pairs, second.pairs),
        **_UNMEASURED,
    )


def cosine(first: "Direction", second: Any) -> torch.Tensor:
    """Cosine between two directions at each layer. # [layers] float64

    Raises CalibError as total does for what is no direction, and for other models, layers or sites.
    """
    require_same_space(first, second)
    for name in ("layers", "site"):
        if getattr(first, name) != getattr(second, name):
            raise CalibError(
                "mismatch",
                f"The directions cannot be compared: {name} is {getattr(first, name)!r} and "
                f"{getattr(second, name)!r}. Take the layers that both have, with "
                "select_layers([...]), of directions at one site.",
            )
    cosines: torch.Tensor = (first.vectors.double() * second.vectors.double()).sum(-1)
    return cosines


def require_same_space(first: "Direction", second: Any) -> None:
    """Raise CalibError unless ``second`` is a direction of the same model as ``first``."""
    if not isinstance(second, type(first)):
        raise CalibError(
            "invalid-value",
            f"The second of two directions is {_shown(second)}. Give a calib.Direction, as "
            "calib.fit and calib.read_direction return it.",
        )
    if first.fingerprint != second.fingerprint:
        raise CalibError(
            "mismatch",
            f"The directions are of two models, {first.checkpoint} (fingerprint "
            f"{first.fingerprint}) and {second.checkpoint} ({second.fingerprint}). Fit both with "
            "one model, loaded with the same settings.",
        )


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor) and value.dim() == 0 and not value.is_complex():
        value = value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def _shown(value: Any) -> str:
    simple = isinstance(value, str | int | float | bool | None)
    return f"{value!r:.80}" if simple else f"a {type(value).__name__}"
