"""Directions against the formula, by hand."""

import pytest
import torch

from calib.directions.estimators import auroc, auroc_interval, mean_difference
from calib.errors import CalibError


def test_mean_difference_by_hand():
    positive = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[3.0, 4.0], [0.0, 4.0]]])
    negative = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    fit = mean_difference(positive, negative)
    assert torch.equal(fit.vectors, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    assert torch.equal(fit.gap, torch.tensor([5.0, 3.0]))


def test_one_gap_moves_one_class_mean_onto_the_other():
    draw = torch.Generator().manual_seed(0)
    positive = torch.randn(9, 3, 5, generator=draw) + 1
    negative = torch.randn(7, 3, 5, generator=draw)
    fit = mean_difference(positive, negative)
    moved = negative.mean(0) + fit.gap[:, None] * fit.vectors
    assert torch.allclose(moved, positive.mean(0), atol=1e-5)


def test_equal_means_have_no_direction():
    same = torch.ones(2, 3, 4)
    with pytest.raises(CalibError, match="same mean activation at layer 0"):
        mean_difference(same, same)


def test_auroc_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 0.0]]])
    negative = torch.tensor([[[1.0, 9.0], [9.0, 0.5]], [[0.0, 9.0], [9.0, 2.0]]])
    # Layer 0: both positives above both negatives. Layer 1: 1 > 0.5 only, one of four.
    assert auroc(vectors, positive, negative) == [1.0, 0.25]


def test_auroc_interval_is_hanley_and_mcneils():
    # By hand: A = 0.8 and n = 50 give A' = 40.5 / 51 = 0.794118, Q1 = 0.658537, Q2 = 0.702961,
    # SE^2 = (0.163495 + 49 x 0.027914 + 49 x 0.072338) / 2500 = 0.0020303, SE = 0.045060.
    low, high = auroc_interval(0.8, 50, 50)
    assert (low, high) == (pytest.approx(0.71168, abs=1e-4), pytest.approx(0.88832, abs=1e-4))


def test_a_perfect_separation_has_an_interval_that_narrows():
    few, many = auroc_interval(1.0, 5, 5), auroc_interval(1.0, 500, 500)
    assert few[1] == many[1] == 1.0
    assert 0.5 < few[0] < many[0] < 1.0
