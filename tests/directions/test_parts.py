"""Directions by part: fitted on a part's own examples, measured on every part."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from random_directions import direction_at

from calib.data.example import Example
from calib.directions.estimators import ESTIMATORS
from calib.directions.parts import POOLED, ContrastExamples, part_separations
from calib.directions.samples import Samples

LAYERS, WIDTH = 2, 8
VLM = SimpleNamespace(width=WIDTH, checkpoint="mini", revision=None, fingerprint="f")


def examples(part, split, pairs, safety, names=None):
    return [
        Example(f"{part}/{split}/{k}/{safety}", part, "plain", "c", split, "q", safety=safety,
                pair=f"{part}/{split}/{k}")
        for k in range(pairs)
    ]  # fmt: skip


def contrast(split, shifts, pairs=20, seed=0):
    """Twins of parts; the twins of a part differ along the channel that ``shifts`` gives it."""
    draw = torch.Generator().manual_seed(seed)
    sides, activations = {"unsafe": [], "safe": []}, {"unsafe": [], "safe": []}
    for part, channel in shifts.items():
        common = torch.randn(pairs, LAYERS, WIDTH, generator=draw)
        difference = torch.zeros(WIDTH)
        difference[channel] = 6.0
        for safety, sign in (("unsafe", 0.5), ("safe", -0.5)):
            noise = 0.1 * torch.randn(pairs, LAYERS, WIDTH, generator=draw)
            activations[safety].append(common + sign * difference + noise)
            sides[safety] += examples(part, split, pairs, safety)
    groups = [example.pair for example in sides["unsafe"]]
    positive, negative = (torch.cat(activations[safety]) for safety in ("unsafe", "safe"))
    samples = Samples(positive, negative, groups, groups, True, groups, groups)
    return ContrastExamples(sides["unsafe"], sides["safe"], samples)


def separations(train, held_out, estimator="mean_difference"):
    fit = ESTIMATORS[estimator](train.samples)
    pooled = direction_at(VLM, [0, 3], vectors=fit.vectors, estimator=estimator)
    return part_separations(pooled, train, held_out, ESTIMATORS[estimator])


def cell(found, fitted_on, measured_on, layer=0):
    (each,) = [
        s for s in found
        if (s.fitted_on, s.measured_on, s.layer) == (fitted_on, measured_on, layer)
    ]  # fmt: skip
    return each


SHIFTS = {"image_centric": 0, "text_centric": 5}


def test_a_part_is_separated_by_its_own_direction_only():
    found = separations(contrast("train", SHIFTS), contrast("validation", SHIFTS, seed=1))
    for part, other in (SHIFTS, reversed(SHIFTS)):
        own, across = cell(found, part, part), cell(found, other, part)
        assert own.auroc > 0.99 and own.low > 0.9
        assert 0.3 < across.auroc < 0.7 and across.low < 0.5 < across.high
        assert own.cosine == pytest.approx(1, abs=1e-5) and abs(across.cosine) < 0.3
        assert (own.n, own.clusters, own.train) == (40, 20, 20)


def test_the_pooled_direction_is_measured_on_every_part_and_on_all():
    found = separations(contrast("train", SHIFTS), contrast("validation", SHIFTS, seed=1))
    assert {s.measured_on for s in found if s.fitted_on == POOLED} == {POOLED, *SHIFTS}
    total = cell(found, POOLED, POOLED, layer=3)
    assert (total.n, total.clusters, total.train) == (80, 40, 40)
    assert total.auroc > 0.9
    # The pooled direction is half of each, at right angles to each other.
    assert cell(found, POOLED, "image_centric").cosine == pytest.approx(math.sqrt(0.5), abs=0.1)


def test_a_part_that_is_too_small_is_measured_but_has_no_direction():
    train, small = contrast("train", SHIFTS), contrast("train", {"dual_use": 2}, pairs=7)
    groups = [*train.samples.positive_groups, *small.samples.positive_groups]
    train = ContrastExamples(
        [*train.positive, *small.positive],
        [*train.negative, *small.negative],
        Samples(
            torch.cat([train.samples.positive, small.samples.positive]),
            torch.cat([train.samples.negative, small.samples.negative]),
            groups,
            groups,
            True,
            groups,
            groups,
        ),
    )
    found = separations(train, contrast("validation", SHIFTS | {"dual_use": 2}, seed=1))
    assert {s.fitted_on for s in found} == {POOLED, *SHIFTS}
    measured = cell(found, "image_centric", "dual_use")
    assert measured.n == 40 and math.isnan(measured.cosine)


def test_one_part_alone_has_nothing_to_compare():
    shifts = {"image_centric": 0}
    assert separations(contrast("train", shifts), contrast("validation", shifts, seed=1)) == []


def test_a_part_without_the_contrast_has_no_direction():
    train = contrast("train", SHIFTS | {"dual_use": 2})
    rows = [k for k, example in enumerate(train.positive) if example.dataset == "dual_use"]
    positive = train.samples.positive.clone()
    positive[rows] = train.samples.negative[rows]  # its two sides are equal
    train = replace(train, samples=replace(train.samples, positive=positive))
    found = separations(train, contrast("validation", SHIFTS, seed=1))
    assert {s.fitted_on for s in found} == {POOLED, *SHIFTS}


def test_the_direction_of_a_part_is_fitted_with_the_pooled_estimator():
    train, held_out = contrast("train", SHIFTS), contrast("validation", SHIFTS, seed=1)
    own = ESTIMATORS["pca"](train.of_part("text_centric").samples).vectors
    pooled = ESTIMATORS["pca"](train.samples).vectors
    expected = (own * pooled).sum(-1)
    across = cell(separations(train, held_out, "pca"), POOLED, "text_centric")
    assert across.cosine == pytest.approx(float(expected[0]), abs=1e-5)
