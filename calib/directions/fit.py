"""Fit a direction to a contrast, and check that a direction belongs to a model."""

import hashlib
from collections.abc import Sequence
from typing import cast

import torch

from calib.config.choices import Site
from calib.data.example import Example, fingerprint
from calib.directions.direction import Direction
from calib.directions.estimators import estimate
from calib.directions.origin import origin_of, require_same_origin
from calib.directions.samples import Samples
from calib.directions.separation import auroc, auroc_bounds, pair_cosine
from calib.models.layers import site_width
from calib.models.load import VLM
from calib.util.errors import CalibError


def fit_direction(
    vlm: VLM,
    train: Samples,
    held_out: Samples | None,
    *,
    contrast: str,
    estimator: str,
    positions: str,
    site: str,
    layers: Sequence[int],
    pair_set: str = "",
) -> Direction:
    """Fit one unit vector per layer, and measure its AUROC on ``held_out`` samples if given.

    Raises CalibError for an unknown estimator, or for an estimator that needs pairs if the samples
    are not paired.
    """
    fit = estimate(train, estimator)
    both = torch.cat([train.positive, train.negative])
    bounds = auroc_bounds(fit.vectors, held_out) if held_out else []
    return Direction(
        vectors=fit.vectors,
        gap=fit.gap,
        midpoint=fit.midpoint,
        norm=both.norm(dim=-1).mean(0),
        layers=list(layers),
        checkpoint=vlm.checkpoint,
        revision=vlm.revision,
        fingerprint=vlm.fingerprint,
        site=site,
        estimator=estimator,
        contrast=contrast,
        read_positions=positions,
        pair_set=pair_set,
        pairs=min(len(train.positive), len(train.negative)),
        pair_cosine=pair_cosine(train) if train.paired else [],
        auroc=auroc(fit.vectors, held_out) if held_out else [],
        auroc_pairs=min(len(held_out.positive), len(held_out.negative)) if held_out else 0,
        auroc_clusters=held_out.clusters if held_out else 0,
        auroc_low=[low for low, _ in bounds],
        auroc_high=[high for _, high in bounds],
        origin=origin_of(vlm),
    )


def require_match(direction: Direction, vlm: VLM, path: str) -> list[str]:
    """Check that the direction was read from this model's weights, under settings that it accepts.

    Returns a note if settings differ; see require_same_origin. A file of an earlier version, which
    records no settings, fits a model of the same fingerprint only.

    Raises CalibError (mismatch) if the direction does not fit.
    """
    what = f"the direction {path}" if path else "the direction"
    width = site_width(vlm.model, cast(Site, direction.site))
    if direction.width != width:
        raise CalibError(
            "mismatch",
            f"{what} has width {direction.width}; {vlm.checkpoint} has width "
            f"{width} ({direction.site}). A direction only fits the model it was read from.",
        )
    missing = [layer for layer in direction.layers if layer >= vlm.num_layers]
    if missing:
        raise CalibError(
            "mismatch",
            f"{what} has layers {missing}; the last layer of {vlm.checkpoint} is "
            f"{vlm.num_layers - 1}. Use a direction of this model.",
        )
    same = direction.fingerprint == vlm.fingerprint
    if direction.origin:
        return require_same_origin(what, direction.origin, direction.checkpoint, same, vlm)
    if same:
        return []
    raise CalibError(
        "mismatch",
        f"{what} of {direction.checkpoint} has the fingerprint {direction.fingerprint}, and the "
        f"model {vlm.checkpoint} has {vlm.fingerprint}. The file is of an earlier version, which "
        "did not record the settings behind it: its weights, dtype, attention, chat template or "
        "picture settings differ. Load the model as there, or fit the direction again with "
        "calib.extract.",
    )


def pair_set_hash(examples: Sequence[Example]) -> str:
    """Hash (16 hex digits) of everything that the model reads of the examples, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(fingerprint(example).encode())
    return digest.hexdigest()[:16]
