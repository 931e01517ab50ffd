"""Fit a direction to contrastive examples and measure it on held-out ones."""

import hashlib
from collections.abc import Sequence

import torch

from calib.data.example import Example, fingerprint
from calib.directions.direction import Direction
from calib.directions.estimators import ESTIMATORS, auroc
from calib.engine.reading import read_activations
from calib.errors import CalibError, did_you_mean
from calib.vlm.load import VLM
from calib.vlm.prompts import Positions

Contrast = tuple[Sequence[Example], Sequence[Example]]
"""Positive (unsafe, or refused) and negative (safe, or answered) examples."""


def fit_direction(
    vlm: VLM,
    train: Contrast,
    held_out: Contrast,
    *,
    contrast: str,
    estimator: str = "mean_difference",
    positions: Positions = "last_prompt",
    layers: Sequence[int],
    pair_set: str = "",
    batch_rows: int = 64,
    progress: object = None,
) -> Direction:
    """Read the examples' activations and fit one unit vector per layer.

    Raises CalibError for an unknown estimator or an empty side of the contrast.
    """
    if estimator not in ESTIMATORS:
        raise CalibError(
            f"estimator '{estimator}' is not known.{did_you_mean(estimator, ESTIMATORS)} "
            f"Choose from {', '.join(ESTIMATORS)}."
        )
    for side, examples in zip(("positive", "negative"), train, strict=True):
        if not examples:
            raise CalibError(
                f"the {contrast} contrast has no {side} training examples, so there is nothing to "
                "fit. Use more data (data.limit, data.parts), or the other contrast."
            )
    wanted = list(layers)

    def read(examples: Sequence[Example]) -> torch.Tensor:
        return read_activations(vlm, examples, positions, batch_rows, progress, wanted)

    positive, negative = read(train[0]), read(train[1])
    fit = ESTIMATORS[estimator](positive, negative)
    both = len(held_out[0]) > 0 and len(held_out[1]) > 0
    return Direction(
        vectors=fit.vectors,
        gap=fit.gap,
        norm=torch.cat([positive, negative]).norm(dim=-1).mean(0),
        layers=wanted,
        checkpoint=vlm.checkpoint,
        revision=vlm.revision,
        fingerprint=vlm.fingerprint,
        estimator=estimator,
        contrast=contrast,
        read_positions=positions,
        pair_set=pair_set,
        pairs=min(map(len, train)),
        auroc=auroc(fit.vectors, read(held_out[0]), read(held_out[1])) if both else [],
        auroc_pairs=min(map(len, held_out)) if both else 0,
    )


def checked_layers(vlm: VLM, layers: int | Sequence[int] | str) -> list[int]:
    """Layer numbers for "all", one number or several.

    Raises CalibError for a layer that the model does not have.
    """
    if isinstance(layers, str):
        return list(range(vlm.layers))
    chosen = [layers] if isinstance(layers, int) else sorted(set(layers))
    for layer in chosen:
        if not 0 <= layer < vlm.layers:
            raise CalibError(
                f"layer {layer} does not exist: {vlm.checkpoint} has layers 0 to {vlm.layers - 1}."
            )
    return chosen


def require_match(direction: Direction, vlm: VLM, path: str) -> None:
    """Raise CalibError unless the direction was made for this very model."""
    if direction.site != "residual" or direction.operator != "add":
        raise CalibError(
            f"method.direction={path} is for operator '{direction.operator}' at site "
            f"'{direction.site}'; method=steer adds to the residual stream."
        )
    if direction.width != vlm.width:
        raise CalibError(
            f"method.direction={path} has width {direction.width}; {vlm.checkpoint} has width "
            f"{vlm.width}. A direction only fits the model it was read from."
        )
    beyond = [layer for layer in direction.layers if layer >= vlm.layers]
    if beyond:
        raise CalibError(
            f"method.direction={path} has layers {beyond}; {vlm.checkpoint} ends at layer "
            f"{vlm.layers - 1}."
        )
    if direction.fingerprint != vlm.fingerprint:
        raise CalibError(
            f"method.direction={path} was read from {direction.checkpoint} "
            f"({direction.fingerprint}), not from {vlm.checkpoint} ({vlm.fingerprint}). "
            "Fit a direction for this model with calib.extract."
        )


def pair_set_of(examples: Sequence[Example]) -> str:
    """16 hex digits over everything the model sees of the examples, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(fingerprint(example).encode())
    return digest.hexdigest()[:16]
