"""Every estimator, compared with its formula in numpy and checked for its invariances."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from raising import raises
from random_contrasts import LAYERS, WIDTH, mapped, twins, unpaired
from scipy.optimize import minimize

from calib.directions.estimators import ESTIMATORS, estimate
from calib.directions.samples import Samples
from calib.directions.subspaces import nullspace_ridge, svd_subspace

PAIRED = ("paired_mean_difference", "pca", "svd_subspace")
EVERY = tuple(ESTIMATORS)


def sides(samples, layer):
    return samples.positive[:, layer].double().numpy(), samples.negative[:, layer].double().numpy()


def grouped(rows, groups):
    return np.mean([rows[[g == name for g in groups]].mean(0) for name in set(groups)], 0)


def mean_difference(positive, negative, samples):
    return positive.mean(0) - negative.mean(0)


def paired_mean_difference(positive, negative, samples):
    return sum((a - b) / np.linalg.norm(a - b) for a, b in zip(positive, negative, strict=True))


def pca(positive, negative, samples):
    both_signs = np.r_[positive - negative, negative - positive]
    return np.linalg.eigh(np.cov(both_signs.T))[1][:, -1]


def svd_first(positive, negative, samples):
    return np.linalg.svd(positive - negative)[2][0]


def logistic_probe(positive, negative, samples):
    both = np.r_[positive, negative]
    x = both / (both - both.mean(0)).std()
    y = np.r_[np.ones(len(positive)), -np.ones(len(negative))]

    def loss(w):
        return w[:-1] @ w[:-1] / 2 + np.log1p(np.exp(-y * (x @ w[:-1] + w[-1]))).sum()

    return minimize(loss, np.zeros(WIDTH + 1), tol=1e-9).x[:-1]


def ledoit_wolf(x):
    """Ledoit & Wolf (2004), section 3.2, on channels at unit variance, scaled back."""
    spread = x.std(0)
    z = (x - x.mean(0)) / spread
    n, p = z.shape
    s = z.T @ z / n
    mu = np.trace(s) / p
    d2 = ((s - mu * np.eye(p)) ** 2).sum() / p
    b2 = min(d2, sum(((np.outer(row, row) - s) ** 2).sum() for row in z) / n**2 / p)
    return spread[:, None] * (b2 / d2 * mu * np.eye(p) + (1 - b2 / d2) * s) * spread


def lda(positive, negative, samples):
    n = len(positive) + len(negative)
    within = (len(positive) * ledoit_wolf(positive) + len(negative) * ledoit_wolf(negative)) / n
    return np.linalg.inv(within) @ (positive.mean(0) - negative.mean(0))


def multi_response_means(positive, negative, samples):
    return grouped(positive, samples.positive_groups) - grouped(negative, samples.negative_groups)


FORMULAS = {
    "mean_difference": mean_difference,
    "paired_mean_difference": paired_mean_difference,
    "pca": pca,
    "logistic_probe": logistic_probe,
    "lda": lda,
    "multi_response_means": multi_response_means,
    "svd_subspace": svd_first,
    "nullspace_ridge": mean_difference,
}


def test_every_estimator_has_a_formula_here():
    assert set(FORMULAS) == set(ESTIMATORS)


@pytest.mark.parametrize(
    ("name", "samples"),
    [(name, twins()) for name in EVERY] + [(n, unpaired()) for n in EVERY if n not in PAIRED],
)
def test_fits_equal_the_formula(name, samples):
    fit = ESTIMATORS[name](samples)
    for layer in range(LAYERS):
        positive, negative = sides(samples, layer)
        vector = FORMULAS[name](positive, negative, samples)
        means = positive.mean(0), negative.mean(0)
        if name == "multi_response_means":
            means = (
                grouped(positive, samples.positive_groups),
                grouped(negative, samples.negative_groups),
            )
        vector = vector / np.linalg.norm(vector)
        vector = vector * np.sign(vector @ (means[0] - means[1]))
        # The solver of the probe stops at a gradient of 1e-4.
        tolerance = 1e-3 if name == "logistic_probe" else 3e-6
        assert fit.vectors[layer].numpy() == pytest.approx(vector, abs=tolerance)
        gap, midpoint = vector @ (means[0] - means[1]), vector @ (means[0] + means[1]) / 2
        assert float(fit.gap[layer]) == pytest.approx(gap, rel=tolerance)
        assert float(fit.midpoint[layer]) == pytest.approx(midpoint, abs=5 * tolerance)


def test_estimators_differ_from_each_other():
    # Otherwise, equal numbers would prove little. The first singular vector of uncentred
    # differences is their first principal component.
    vectors = {name: estimator(twins()).vectors for name, estimator in ESTIMATORS.items()}
    same = {
        (a, b)
        for a in EVERY
        for b in EVERY
        if a < b and torch.allclose(vectors[a], vectors[b], atol=1e-2)
    }
    means = ("mean_difference", "multi_response_means", "nullspace_ridge")
    assert same == {("pca", "svd_subspace")} | {(a, b) for a in means for b in means if a < b}


@pytest.mark.parametrize("name", EVERY)
class TestEvery:
    def test_shapes_and_dtypes(self, name):
        fit = ESTIMATORS[name](twins())
        assert fit.vectors.shape == (LAYERS, WIDTH)
        assert fit.gap.shape == fit.midpoint.shape == (LAYERS,)
        for tensor in (fit.vectors, fit.gap, fit.midpoint, fit.basis):
            assert tensor.dtype == torch.float32
        assert torch.equal(fit.basis[:, 0], fit.vectors)
        gram = fit.basis @ fit.basis.mT
        assert torch.allclose(gram, torch.eye(fit.basis.shape[1]).expand_as(gram), atol=1e-6)
        assert fit.basis.shape[1] == (3 if name == "svd_subspace" else 1)
        assert (fit.readers is not None) == (name == "nullspace_ridge")

    def test_determinism(self, name):
        first, again = ESTIMATORS[name](twins()), ESTIMATORS[name](twins())
        assert torch.equal(first.vectors, again.vectors)
        assert torch.equal(first.midpoint, again.midpoint)

    def test_exchanged_sides(self, name):
        samples = twins()
        fit = ESTIMATORS[name](samples)
        other = ESTIMATORS[name](
            replace(samples, positive=samples.negative, negative=samples.positive)
        )
        assert (fit.gap > 0).all() and torch.allclose(other.gap, fit.gap, rtol=1e-3)
        assert torch.allclose(other.vectors, -fit.vectors, atol=1e-3)
        assert torch.allclose(other.midpoint, -fit.midpoint, rtol=1e-3, atol=1e-3)

    def test_another_scale(self, name):
        fit, scaled = ESTIMATORS[name](twins()), ESTIMATORS[name](mapped(twins(), EYE, 64.0))
        assert torch.allclose(scaled.vectors, fit.vectors, atol=1e-5)
        assert torch.allclose(scaled.gap, 64 * fit.gap, rtol=1e-4)
        assert torch.allclose(scaled.midpoint, 64 * fit.midpoint, rtol=1e-4, atol=1e-3)

    def test_rotations(self, name):
        if name == "lda":
            pytest.skip("its shrinkage normalises each channel to unit variance")
        fit, turned = ESTIMATORS[name](twins()), ESTIMATORS[name](mapped(twins(), ROTATION))
        assert torch.allclose(turned.basis, fit.basis @ ROTATION.mT, atol=2e-4)
        assert torch.allclose(turned.gap, fit.gap, rtol=1e-4)
        if fit.readers is not None:
            assert torch.allclose(turned.readers, fit.readers @ ROTATION.mT, atol=1e-5)

    def test_a_planted_direction(self, name):
        draw = torch.Generator().manual_seed(1)
        planted = torch.nn.functional.normalize(torch.randn(1, 40, generator=draw), dim=-1)
        common, noise = torch.randn(2, 400, 1, 40, generator=draw)
        names = [str(k) for k in range(400)]
        samples = Samples(common + 4 * planted + 0.2 * noise, common, names, names, True)
        fit = ESTIMATORS[name](samples)
        assert float(fit.vectors[0] @ planted[0]) > 0.95
        assert float(fit.gap[0]) == pytest.approx(4, rel=0.06)

    def test_without_twins(self, name):
        if name in PAIRED:
            with raises("conflicting-settings", name, "contrast=safety"):
                ESTIMATORS[name](unpaired())
        else:
            assert (ESTIMATORS[name](unpaired()).gap > 0).all()

    def test_equal_sides(self, name):
        samples = twins()
        negative = samples.negative.clone()
        negative[:, 1] = samples.positive[:, 1]
        with raises("no-solution", "layer 1 "):
            ESTIMATORS[name](replace(samples, negative=negative))
        same = torch.ones(3, LAYERS, WIDTH)
        with raises("no-solution", "layer 0 "):
            ESTIMATORS[name](Samples(same, same, "abc", "abc", True))


EYE = torch.eye(WIDTH)
ROTATION = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(2)))[0]


def test_mean_difference_by_hand():
    positive = torch.tensor([[[3.0, 4.0], [0.0, 2.0]], [[3.0, 4.0], [0.0, 4.0]]])
    negative = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    fit = ESTIMATORS["mean_difference"](Samples(positive, negative, ["a", "b"], ["a"], False))
    assert torch.equal(fit.vectors, torch.tensor([[0.6, 0.8], [0.0, 1.0]]))
    assert torch.equal(fit.gap, torch.tensor([5.0, 3.0]))
    assert torch.equal(fit.midpoint, torch.tensor([2.5, 1.5]))


def test_one_gap_moves_a_class_mean_onto_the_other():
    samples = unpaired()
    fit = ESTIMATORS["mean_difference"](samples)
    moved = samples.negative.mean(0) + fit.gap[:, None] * fit.vectors
    assert torch.allclose(moved, samples.positive.mean(0), atol=1e-5)


def test_pairs_have_equal_weight_at_any_distance():
    samples = twins()
    far = samples.positive.clone()
    far[0] = samples.negative[0] + 100 * (samples.positive[0] - samples.negative[0])
    for name, moves in (("paired_mean_difference", False), ("mean_difference", True)):
        before = ESTIMATORS[name](samples).vectors
        after = ESTIMATORS[name](replace(samples, positive=far)).vectors
        assert torch.allclose(after, before, atol=1e-5) != moves


def test_equal_twins_are_ignored():
    samples = twins()
    positive = torch.cat([samples.positive, samples.negative[:1]])
    negative = torch.cat([samples.negative, samples.negative[:1]])
    more = Samples(positive, negative, ["x"] * 13, ["x"] * 13, True)
    fit = ESTIMATORS["paired_mean_difference"](more)
    assert torch.allclose(fit.vectors, ESTIMATORS["paired_mean_difference"](samples).vectors)


def test_a_repeated_response_does_not_change_the_mean_of_its_query():
    samples = unpaired()
    again = replace(
        samples,
        positive=torch.cat([samples.positive, samples.positive[5:6].repeat(4, 1, 1)]),
        positive_groups=[*samples.positive_groups, *"bbbb"],  # the only response of b
    )
    for name, moves in (("multi_response_means", False), ("mean_difference", True)):
        before, after = ESTIMATORS[name](samples), ESTIMATORS[name](again)
        assert torch.allclose(after.vectors, before.vectors, atol=1e-6) != moves
        assert torch.allclose(after.midpoint, before.midpoint, atol=1e-6) != moves


def test_the_subspace_is_spanned_by_the_first_singular_vectors():
    samples = twins()
    for rank in (1, 2, 4):
        fit = svd_subspace(samples, rank=rank)
        for layer in range(LAYERS):
            positive, negative = sides(samples, layer)
            rows = np.linalg.eigh((positive - negative).T @ (positive - negative))[1].T[::-1][:rank]
            rows = rows * np.sign(rows @ (positive.mean(0) - negative.mean(0)))[:, None]
            assert fit.basis[layer].numpy() == pytest.approx(rows, abs=2e-6)


def test_the_subspace_of_two_pairs_has_two_dimensions():
    assert svd_subspace(twins(2), rank=3).basis.shape == (LAYERS, 2, WIDTH)
    assert svd_subspace(twins(1), rank=3).basis.shape == (LAYERS, 1, WIDTH)


def test_the_subspace_of_parallel_differences_has_one_dimension():
    samples = twins()
    step = torch.arange(WIDTH) * torch.arange(1.0, 13)[:, None, None]
    parallel = replace(
        samples, positive=step.expand(12, LAYERS, WIDTH), negative=torch.zeros(12, 2, 6)
    )
    fit = svd_subspace(parallel)
    assert fit.basis.shape == (LAYERS, 1, WIDTH)
    assert torch.allclose(fit.vectors[0], torch.arange(6.0) / torch.arange(6.0).norm())


def test_discriminant_analysis_of_one_pair():
    with raises("too-few", "lda", "2 examples"):
        ESTIMATORS["lda"](twins(1))


def steering_matrix(samples, layer, null_share, ridge):
    """AlphaSteer's complete matrix, as published."""
    positive, negative = sides(samples, layer)
    values, vectors = np.linalg.eigh(negative.T @ negative)  # smallest first
    kept = vectors[:, : round(null_share * WIDTH)]
    p = kept @ kept.T
    x, r = positive @ p, positive.mean(0) - negative.mean(0)
    d = np.linalg.solve(x.T @ x + ridge * np.eye(WIDTH), x.T @ np.outer(np.ones(len(x)), r))
    return p @ d


@pytest.mark.parametrize(("null_share", "ridge"), [(0.6, 10.0), (0.3, 0.5), (1.0, 10.0)])
@pytest.mark.parametrize("samples", [twins(), unpaired()])
def test_the_reader_equals_the_steering_matrix(samples, null_share, ridge):
    fit = nullspace_ridge(samples, null_share, ridge)
    h = torch.randn(20, LAYERS, WIDTH, generator=torch.Generator().manual_seed(3))
    strength = torch.einsum("nlw,lw->nl", h, fit.readers)
    moved = strength[:, :, None] * (fit.gap[:, None] * fit.vectors)
    for layer in range(LAYERS):
        delta = steering_matrix(samples, layer, null_share, ridge)
        expected = h[:, layer].double().numpy() @ delta
        assert moved[:, layer].numpy() == pytest.approx(expected, abs=1e-5)


def test_the_defaults_of_the_null_space():
    default, explicit = ESTIMATORS["nullspace_ridge"](twins()), nullspace_ridge(twins(), 0.6, 10.0)
    assert torch.equal(default.readers, explicit.readers)


@pytest.mark.parametrize("null_share", [0.2, 0.6])
def test_positive_activations_are_moved_and_negative_ones_are_not(null_share):
    # Ten negative examples of width 50 leave a larger null space than null_share.
    draw = torch.Generator().manual_seed(4)
    negative = 3 * torch.randn(10, 1, 50, generator=draw)
    positive = 3 * torch.randn(10, 1, 50, generator=draw) + 2
    names = [str(k) for k in range(10)]
    samples = Samples(positive, negative, names, names, True)
    fit = nullspace_ridge(samples, null_share)
    assert torch.einsum("nlw,lw->n", positive, fit.readers).numpy() == pytest.approx(1, abs=0.1)
    assert torch.einsum("nlw,lw->n", negative, fit.readers).numpy() == pytest.approx(0, abs=1e-5)
    # All of the null space is kept, whatever null_share says.
    assert torch.allclose(fit.readers, nullspace_ridge(samples, 0.1).readers)
    again = replace(samples, negative=negative.repeat(3, 1, 1))
    assert torch.allclose(fit.readers, nullspace_ridge(again, null_share).readers)


def test_the_largest_channels_of_a_vector():
    samples = twins()
    fit, sparse = estimate(samples, "mean_difference"), estimate(samples, "mean_difference_top2")
    difference = samples.positive.double().mean(0) - samples.negative.double().mean(0)
    middle = (samples.positive.double().mean(0) + samples.negative.double().mean(0)) / 2
    for layer in range(LAYERS):
        kept = difference[layer].abs().argsort()[-2:]
        expected = torch.zeros(WIDTH, dtype=torch.float64)
        expected[kept] = difference[layer][kept]
        unit = expected / expected.norm()
        assert torch.allclose(sparse.vectors[layer].double(), unit, atol=1e-6)
        assert float(sparse.gap[layer]) == pytest.approx(float(difference[layer] @ unit), rel=1e-5)
        assert float(sparse.midpoint[layer]) == pytest.approx(float(middle[layer] @ unit), rel=1e-5)
    assert torch.equal(estimate(samples, f"mean_difference_top{WIDTH}").vectors, fit.vectors)


def test_pairs_of_several_responses_to_one_query():
    """PCA of the differences between the query's means on both sides."""
    both = twins()
    groups = ["a", "a", "b", "c", "c", "c", "d", "e", "e", "f", "f", "f"]
    several = Samples(both.positive, both.negative[:8], groups, [*"abcdeffa"], False)

    def means(activations, names):
        rows = [[k for k, name in enumerate(names) if name == group] for group in "abcdef"]
        return torch.stack([activations[r].mean(0) for r in rows])

    of_queries = Samples(
        means(both.positive, groups), means(both.negative[:8], "abcdeffa"),
        [*"abcdef"], [*"abcdef"], True,
    )  # fmt: skip
    expected = estimate(of_queries, "pca").vectors
    cosines = (estimate(several, "pca").vectors * expected).sum(-1)
    assert torch.allclose(cosines, torch.ones(LAYERS), atol=1e-5)
