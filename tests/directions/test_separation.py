"""AUROC and pair cosine, compared with values computed by hand and pair by pair."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_contrasts import LAYERS, twins, unpaired
from sklearn.metrics import roc_auc_score

from calib.directions.direction import Direction
from calib.directions.samples import Samples
from calib.directions.separation import (
    auroc,
    auroc_interval,
    best_layer,
    chance_note,
    clustered_auroc,
    pair_cosine,
)


def test_auroc_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positive = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 0.0]]])
    negative = torch.tensor([[[1.0, 9.0], [9.0, 0.5]], [[0.0, 9.0], [9.0, 2.0]]])
    # Layer 0: all four pairs are in the right order. Layer 1: only 1 > 0.5, one of four.
    assert auroc(vectors, Samples(positive, negative, "ab", "ab", True)) == [1.0, 0.25]


def test_auroc_interval_equals_hanley_and_mcneil():
    # By hand: A = 0.8 and n = 50 give A' = 40.5 / 51 = 0.794118, Q1 = 0.658537, Q2 = 0.702961,
    # SE^2 = (0.163495 + 49 x 0.027914 + 49 x 0.072338) / 2500 = 0.0020303, SE = 0.045060.
    low, high = auroc_interval(0.8, 50, 50)
    assert (low, high) == (pytest.approx(0.71168, abs=1e-4), pytest.approx(0.88832, abs=1e-4))


def test_the_interval_of_a_perfect_separation_narrows_with_more_examples():
    few, many = auroc_interval(1.0, 5, 5), auroc_interval(1.0, 500, 500)
    assert few[1] == many[1] == 1.0
    assert 0.5 < few[0] < many[0] < 1.0


def naive_pair_cosine(samples, layer):
    differences = (samples.positive.double() - samples.negative.double())[:, layer]
    cosines = [
        float(torch.cosine_similarity(a, b, dim=0))
        for i, a in enumerate(differences)
        for j, b in enumerate(differences)
        if i != j
    ]
    return sum(cosines) / len(cosines)


@pytest.mark.parametrize("pairs", [2, 3, 12])
def test_pair_cosine_is_the_mean_over_pairs_of_pairs(pairs):
    samples = twins(pairs)
    expected = [naive_pair_cosine(samples, layer) for layer in range(LAYERS)]
    assert pair_cosine(samples) == pytest.approx(expected, abs=1e-9)
    assert all(0.1 < value < 0.98 for value in expected)


def test_pair_cosine_of_one_direction_is_at_most_1():
    # Without clamping, rounding gives more than 1 for some of these.
    for pairs in range(2, 30):
        samples = twins(pairs, seed=pairs)
        same = (samples.positive[:1] - samples.negative[:1]).expand(pairs, -1, -1)
        values = pair_cosine(replace(samples, positive=same, negative=torch.zeros_like(same)))
        assert values == pytest.approx([1.0] * LAYERS, abs=1e-6)
        assert max(values) <= 1


def test_equal_twins_are_ignored():
    samples = twins(5)
    positive = samples.positive.clone()
    positive[0] = samples.negative[0]
    rest = Samples(positive[1:], samples.negative[1:], "bcde", "bcde", True)
    assert pair_cosine(replace(samples, positive=positive)) == pytest.approx(pair_cosine(rest))


@pytest.mark.parametrize("samples", [unpaired(), twins(1)])
def test_pair_cosine_without_two_pairs(samples):
    values = pair_cosine(samples)
    assert len(values) == LAYERS and all(map(math.isnan, values))
    same = replace(samples, positive=samples.negative)
    assert all(map(math.isnan, pair_cosine(same)))


def scores(seed, clusters=40, size=5):
    """Scores of two classes that share an offset within each cluster."""
    draw = np.random.default_rng(seed)
    offsets = draw.normal(size=clusters).repeat(size)
    names = [f"c{k}" for k in range(clusters) for _ in range(size)]
    positive = offsets + 0.8 + 0.3 * draw.normal(size=len(offsets))
    negative = offsets + 0.3 * draw.normal(size=len(offsets))
    return positive, negative, names, names


def test_clustered_auroc_equals_sklearn_with_ties():
    positive, negative = np.array([0.0, 1, 1, 2, 3]), np.array([0.0, 0, 1, 2])
    value, _, _ = clustered_auroc(positive, negative, "abcde", "abcd")
    labels = np.r_[np.ones(5), np.zeros(4)]
    assert value == pytest.approx(roc_auc_score(labels, np.r_[positive, negative]))


def test_the_clustered_interval_covers_like_a_bootstrap_of_clusters():
    positive, negative, names, _ = scores(3)
    value, low, high = clustered_auroc(positive, negative, names, names)
    by_cluster = np.arange(len(names)).reshape(40, 5)
    draw = np.random.default_rng(0)
    resampled = []
    for _ in range(400):
        rows = by_cluster[draw.integers(40, size=40)].ravel()
        wins = positive[rows][:, None] > negative[rows][None]
        resampled.append(wins.mean())
    assert high - low == pytest.approx(2 * 2.023 * np.std(resampled), rel=0.15)  # t with 39
    assert low < value < high


def test_singleton_clusters_give_the_interval_of_delong():
    positive, negative, _, _ = scores(1, clusters=30, size=1)
    names = [f"p{k}" for k in range(30)], [f"n{k}" for k in range(30)]
    value, low, high = clustered_auroc(positive, negative, *names)
    wins = positive[:, None] > negative[None]
    variance = wins.mean(1).var(ddof=1) / 30 + wins.mean(0).var(ddof=1) / 30
    assert (high - low) / 2 == pytest.approx(2.045 * math.sqrt(variance), rel=1e-3)  # t with 29


def test_perfect_separation_has_an_interval_by_the_number_of_clusters():
    names = ["a", "a", "b", "b"]
    value, low, high = clustered_auroc(np.arange(4) + 9.0, np.arange(4.0), names, names)
    assert (value, low, high) == (1.0, *auroc_interval(1.0, 2, 2))


def test_the_interval_of_one_cluster_says_nothing():
    bounds = clustered_auroc(np.array([1.0, 2]), np.array([0.0, 3]), "aa", "bc")
    assert bounds == (0.5, 0.0, 1.0)


def measured(auroc, n, clusters=0, **bounds):
    """A direction whose layers, from 2 on, have these AUROCs."""
    count = max(len(auroc), 1)
    return Direction(
        torch.eye(count), *torch.ones(3, count), list(range(2, 2 + count)), "m", None, "f",
        auroc=list(auroc), auroc_pairs=n, auroc_clusters=clusters, **bounds,
    )  # fmt: skip


def test_the_first_of_equally_separating_layers_is_the_best():
    direction = measured([0.2, 0.9, 0.9, 1.0], 50)
    assert best_layer(direction) == 5
    assert best_layer(direction, [2, 3, 4, 7]) == 3


def test_an_auroc_that_is_not_above_chance_is_noted_with_its_counts():
    with_bounds = {"auroc_low": [0.0, 0.41, 0.7], "auroc_high": [1.0, 1.0, 0.9]}
    direction = measured([0.0, 0.8, 0.8], 7, 3, **with_bounds)
    for layer, value, relation in ((2, "0.00", "at or below"), (3, "0.80", "cannot be told")):
        note = chance_note(direction, layer)
        for part in (f"layer {layer}", value, relation, "n=7 ", "3 independent clusters"):
            assert part in note
        assert note != chance_note(direction, layer, chosen=False)
    assert chance_note(direction, 4) == ""
    assert chance_note(measured([], 0), 2) == ""


@pytest.mark.parametrize("auroc", [0.0, 0.5, 1.0])
def test_a_single_held_out_pair_cannot_choose_a_layer(auroc):
    """Files of earlier versions have no interval by cluster."""
    for bounds in ({}, {"auroc_low": [0.0], "auroc_high": [1.0]}):
        assert "n=1 held-out example a side" in chance_note(measured([auroc], 1, **bounds), 2)
    assert chance_note(measured([1.0], 50), 2) == ""
