"""Fit a direction in one call, to pairs, to two lists of queries, or to activations."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from calib.api.model import Model, require_model
from calib.api.queries import Query
from calib.api.sources import (
    Activations,
    TwoSides,
    are_activations,
    as_activations,
    as_pairs,
    two_lists,
)
from calib.config.checks import between, finite_number, one_of, read_positions, text
from calib.config.choices import CONTRASTS_OF_PROMPTS, ESTIMATORS, SITES, Site
from calib.data.example import Example, Pair
from calib.data.split_levels import hold_out
from calib.directions.direction import Direction
from calib.directions.fit import fit_direction, pair_set_hash
from calib.directions.samples import Samples, at_layers, separated
from calib.directions.separation import CHANCE, best_layer, chance_note
from calib.interventions.contrasts import JudgedAnswer, contrast_sides
from calib.interventions.grid import resolve_layers
from calib.models.layers import layer_numbers, site_width
from calib.util.errors import CalibError

OWN = "own"
"""Contrast of two lists of one's own, unless they are given a name."""


def fit(
    vlm: Model,
    pairs: str | Path | Sequence[Pair] | Sequence[Query] | Activations,
    negative: Sequence[Query] | Activations | None = None,
    *,
    estimator: str = "mean_difference",
    contrast: str | None = None,
    positions: str = "last_prompt",
    site: str = "residual",
    held_out: float = 0.25,
    paired: bool = False,
    template: str = "{}",
    layers: int | Sequence[int] | None = None,
) -> Direction:
    """Fit a direction per layer, from the negative to the positive side of a contrast.

    ``pairs`` is one of

    - a table or folder of pairs (docs/pairs.md), or a list of calib.Pairs: the direction points
      from safe to unsafe queries (contrast=safety), or from queries without to those with their
      picture (contrast=modality);
    - with ``negative``, the queries of the positive side: texts, tuples (text, picture) or
      calib.Examples, each text put into ``template``;
    - with ``negative``, activations that were read already, as arrays or tensors
      [rows, layers, width], where ``positions`` says which tokens were read.

    Two sides of one's own may have any name as their ``contrast``. With ``paired``, their k-th rows
    belong together, which the estimators of pairs need. ``layers`` are those to fit, and those of
    the given activations; None is all.

    The share ``held_out`` of the pairs or rows is not used for fitting and measures the AUROC of
    each layer. It is drawn in whole clusters, so that no held-out pair is about a concept of a
    fitted one. A UserWarning says where no layer has an AUROC above chance.

    Raises CalibError when a file cannot be read, there are too few pairs, a setting has a value
    that it does not take (contrasts that need a judge are for the command calib.extract), or an
    argument is of another kind.
    """
    require_model(vlm)
    one_of("estimator", estimator, ESTIMATORS)
    read_positions("positions", positions)
    one_of("site", site, SITES)
    finite_number("held_out", held_out)
    between("held_out", held_out, 0.0, 0.9)
    if not isinstance(paired, bool | np.bool_):
        raise CalibError("invalid-setting", f"paired: {paired!r:.80} is neither True nor False.")
    chosen = resolve_layers(vlm.vlm, "all" if layers is None else layer_numbers(layers), site)
    if negative is None:
        _refuse_one_side(pairs, paired, template)
        contrast = contrast or "safety"
        one_of("contrast", contrast, CONTRASTS_OF_PROMPTS)
        train, measured, pair_set = _of_pairs(
            vlm, as_pairs(cast(Any, pairs)), contrast, positions, site, held_out
        )
        numbers = resolve_layers(vlm.vlm, "all", site)
    else:
        contrast = contrast or OWN
        text("contrast", contrast)
        if are_activations(pairs) or are_activations(negative):
            width = site_width(vlm.vlm.model, cast(Site, site))
            sides, pair_set = as_activations(pairs, negative, len(chosen), width, paired)
            numbers = chosen
        else:
            sides, pair_set = _of_lists(vlm, pairs, negative, template, paired, positions, site)
            numbers = resolve_layers(vlm.vlm, "all", site)
        train, measured = sides.split(held_out)
    rows = [row for row, layer in enumerate(numbers) if layer in chosen]
    apart = separated(at_layers(train, rows))
    if apart and len(apart) < len(rows):
        absent = [numbers[row] for k, row in enumerate(rows) if k not in apart]
        warnings.warn(
            f"the direction has no layers {absent}: both sides have the same mean activation there",
            stacklevel=2,
        )
        rows = [rows[k] for k in apart]
    direction = fit_direction(
        vlm.vlm,
        at_layers(train, rows),
        measured and at_layers(measured, rows),
        contrast=contrast,
        estimator=estimator,
        positions=positions,
        site=site,
        layers=[numbers[row] for row in rows],
        pair_set=pair_set,
    )
    if max(direction.auroc, default=1.0) <= CHANCE:
        note = chance_note(direction, best_layer(direction), chosen=False)
        warnings.warn(f"at its best layer, {note}", stacklevel=2)
    return direction


def _refuse_one_side(pairs: Any, paired: bool, template: str) -> None:
    one_side = are_activations(pairs)
    if isinstance(pairs, list | tuple) and pairs:
        one_side = one_side or isinstance(pairs[0], str | Example)
    if one_side:
        raise CalibError(
            "missing-setting",
            "Queries or activations were given for one side only. Give both sides: "
            "calib.fit(vlm, positive, negative).",
        )
    if paired or template != "{}":
        raise CalibError(
            "conflicting-settings",
            "paired and template are for two sides: calib.fit(vlm, positive, negative). Pairs are "
            "paired already, and have whole queries.",
        )


def _of_pairs(
    vlm: Model, pairs: list[Pair], contrast: str, positions: str, site: str, held_out: float
) -> tuple[Samples, Samples | None, str]:
    fitted, measured = (
        [example for pair in part for example in (pair.safe, pair.unsafe)]
        for part in hold_out(pairs, held_out)
    )

    def samples(examples: list[Example]) -> Samples:
        sides = contrast_sides(contrast, examples, _no_answers)
        activations = vlm.read([*sides.positive, *sides.negative], positions, site)
        count = len(sides.positive)
        groups = sides.positive_groups, sides.negative_groups
        return Samples(
            activations[:count], activations[count:], *groups, sides.paired, *sides.clusters
        )

    return samples(fitted), samples(measured) if measured else None, pair_set_hash(fitted)


def _of_lists(
    vlm: Model,
    positive: Any,
    negative: Any,
    template: str,
    paired: bool,
    positions: str,
    site: str,
) -> tuple[TwoSides, str]:
    ours, theirs, clusters = two_lists(positive, negative, template, paired)
    if not ours or not theirs:
        raise CalibError("too-few", "A list of queries is empty. Give at least one query a side.")
    activations = vlm.read([*ours, *theirs], positions, site)
    both = torch.split(activations, [len(ours), len(theirs)])
    return TwoSides(both[0], both[1], clusters, paired), pair_set_hash([*ours, *theirs])


def _no_answers(
    examples: Sequence[Example], purpose: str, judged: bool = True
) -> list[JudgedAnswer]:
    raise AssertionError("contrasts of responses were refused before")
