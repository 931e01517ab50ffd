"""Pairs from which nothing can be estimated are named, without warnings of numerical libraries."""

import math
import warnings

import pytest
import torch
from raising import raises

from calib.directions.estimators import ESTIMATORS, estimate
from calib.directions.samples import Samples
from calib.directions.separation import auroc, auroc_bounds, pair_cosine
from calib.util.errors import CalibError

WIDTH, LAYERS = 6, 2


def samples(positive, negative):
    """Twins with these activations, at two equal layers. # two of [pairs, width]"""
    names = [f"p{k}" for k in range(len(positive))]
    sides = (side[:, None].expand(-1, LAYERS, -1).contiguous() for side in (positive, negative))
    return Samples(*sides, names, names, True, names, names)


def drawn(count, seed=0):
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))


STEP = torch.eye(WIDTH)[0]
DEGENERATE = {
    "one_pair": (drawn(1), drawn(1, 1)),
    "two_pairs": (drawn(2), drawn(2, 1)),
    "equal_twins": (drawn(5), drawn(5)),
    "zero_activations": (torch.zeros(5, WIDTH), torch.zeros(5, WIDTH)),
    "constant_classes": (torch.ones(5, WIDTH) + STEP, torch.ones(5, WIDTH)),
    "one_side_constant": (drawn(5), torch.zeros(5, WIDTH)),
    "one_channel": (drawn(5) * STEP + STEP, drawn(5, 1) * STEP),
    "opposite_pairs": (torch.stack([STEP, -STEP]), torch.stack([-STEP, STEP])),
    "opposite_unit_pairs": (torch.stack([3 * STEP, -STEP]), torch.stack([-STEP, STEP])),
    "tiny": (drawn(5) * 1e-30, drawn(5, 1) * 1e-30),
    "huge": (drawn(5) * 1e6, drawn(5, 1) * 1e6),
}
"""Activations of the two sides. # two of [pairs, width] each"""


@pytest.mark.parametrize("pairs", DEGENERATE)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_is_finite_or_its_lack_is_named(name, pairs):
    given = samples(*DEGENERATE[pairs])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            fit = estimate(given, name)
        except CalibError as error:
            assert error.code in ("no-solution", "too-few")
            assert "layer" in str(error) or "examples" in str(error)
            return
        assert torch.allclose(fit.vectors.norm(dim=-1), torch.ones(LAYERS), atol=1e-4)
        for number in (fit.gap, fit.midpoint, fit.basis):
            assert number.isfinite().all()
        assert (fit.gap > 0).all()
        assert all(0 <= value <= 1 for value in auroc(fit.vectors, given))
        assert all(0 <= low <= high <= 1 for low, high in auroc_bounds(fit.vectors, given))
        assert all(math.isnan(c) or -1 <= c <= 1 for c in pair_cosine(given))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_twins_without_a_difference_have_no_direction(name):
    for pairs in ("equal_twins", "zero_activations"):
        with raises("no-solution", "layer 0"):
            estimate(samples(*DEGENERATE[pairs]), name)


def test_one_cluster_gives_no_interval_of_separation():
    given = samples(*DEGENERATE["one_pair"])
    fit = estimate(given, "mean_difference")
    assert auroc_bounds(fit.vectors, given) == [(0.0, 1.0)] * LAYERS
    assert all(map(math.isnan, pair_cosine(given)))
