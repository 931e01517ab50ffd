"""Multiples, sums and cosines of directions are those of the vectors that strength 1 adds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from raising import raises

from calib.directions.direction import Direction
from calib.directions.projections import project


def made(seed, **fields):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=-1)
    return Direction(
        vectors=vectors,
        gap=1 + torch.rand(3, generator=generator),
        midpoint=torch.randn(3, generator=generator),
        norm=torch.full((3,), 5.0),
        layers=[0, 1, 2],
        checkpoint="one",
        revision=None,
        fingerprint="0" * 16,
        **fields,
    )


@pytest.fixture
def pair():
    return made(1), made(2, contrast="refusal")


def added(direction, strength=1.0):
    return torch.stack([direction.at(layer, strength) for layer in direction.layers])


@pytest.mark.parametrize("factor", [2, -0.5, np.float64(3), torch.tensor(-1.5)])
def test_a_multiple_adds_a_multiple(pair, factor):
    one, _ = pair
    for multiple in (factor * one, one * factor):
        assert torch.allclose(added(multiple), float(factor) * added(one), atol=1e-5)
        assert torch.allclose(multiple.vectors.norm(dim=-1), torch.ones(3))
        assert (multiple.gap > 0).all()
    assert torch.allclose(added(one / float(factor)), added(one) / float(factor), atol=1e-5)


def test_negation_exchanges_the_sides():
    one = made(1, auroc=[0.5, 0.7, 0.9], auroc_pairs=4)
    activations = torch.randn(5, 3, 8)
    assert torch.allclose(project(-one, activations), -project(one, activations), atol=1e-6)
    assert (-one).auroc == one.auroc  # of the exchanged sides
    assert -1 * (-1 * one) == one
    assert -one != one and (-one).contrast != one.contrast


def test_a_sum_adds_both(pair):
    one, other = pair
    assert torch.allclose(added(one + other, 2.0), added(one, 2.0) + added(other, 2.0), atol=1e-5)
    assert torch.allclose(added(one - other), added(one) - added(other), atol=1e-5)
    middle = torch.linalg.lstsq(  # an activation at both midpoints
        torch.stack([one.vectors, other.vectors], 1),
        torch.stack([one.midpoint, other.midpoint], 1)[..., None],
    ).solution[None, ..., 0]
    assert torch.allclose(project(one + other, middle), torch.zeros(1, 3).double(), atol=1e-5)
    assert (one + other).auroc == [] and (one + other).contrast == "safety + refusal"


def test_cosines(pair):
    one, other = pair
    assert torch.allclose(one.cosine(one), torch.ones(3).double())
    assert torch.allclose(one.cosine(-3 * one), -torch.ones(3).double())
    assert torch.allclose(one.cosine(other), other.cosine(one))
    assert (one.cosine(other).abs() < 1).all()


def test_results_can_be_saved_and_loaded(pair, tmp_path):
    one, other = pair
    one = replace(one, origin={"weights": "a", "dtype": "float32"}, pair_cosine=[float("nan")] * 3)
    for number, made_from in enumerate((-one, 2 * one, one + other)):
        made_from.save(tmp_path / f"{number}.safetensors")
        assert Direction.load(tmp_path / f"{number}.safetensors") == made_from


def test_a_short_repr():
    text = repr(made(1, auroc=[0.5, 0.75, 0.6], auroc_pairs=4))
    assert len(text) < 150
    assert all(part in text for part in ("safety", "one", "3 layers", "0.75 at layer 1"))
    assert "layer 2," in repr(made(1).select_layers([2]))
    assert repr(made(1, contrast="\x1b[31m")).isprintable()


@pytest.mark.parametrize(
    "change, code, values",
    [
        ({"fingerprint": "1" * 16}, "mismatch", ["1" * 16, "0" * 16]),
        ({"layers": [0, 1, 3]}, "mismatch", ["layers", "[0, 1, 3]"]),
        ({"site": "mlp"}, "mismatch", ["site", "mlp"]),
        ({"operator": "ablate"}, "mismatch", ["operator", "ablate"]),
        ({"read_positions": "text"}, "mismatch", ["read_positions", "text"]),
    ],
)
def test_directions_that_cannot_be_added(pair, change, code, values):
    one, other = pair
    with raises(code, *values):
        one + replace(other, **change)
    if "operator" not in change and "read_positions" not in change:
        with raises(code, *values):
            one.cosine(replace(other, **change))


def test_directions_that_cancel_out(pair):
    with raises("no-solution", "layer 0"):
        pair[0] - pair[0]


@pytest.mark.parametrize(
    "wrong, value",
    [
        (lambda d: d * 0, 0), (lambda d: d * "2", "'2'"), (lambda d: d * float("nan"), "nan"),
        (lambda d: d * None, None), (lambda d: d * d, "Direction"), (lambda d: d * True, True),
        (lambda d: d * torch.ones(3), "Tensor"), (lambda d: d / 0, 0), (lambda d: d + 1, 1),
        (lambda d: 1 + d, 1), (lambda d: d - "a", "'a'"), (lambda d: d.cosine(3), 3),
        (lambda d: d.cosine(d.vectors), "Tensor"), (lambda d: d * 10**400, "Direction"),
        (lambda d: d * 1e300, "1e+300"), (lambda d: d / 1e300, "1e-300"),
        (lambda d: d.select_layers([]), "[]"),
    ],
)  # fmt: skip
def test_operands_that_are_none(pair, wrong, value):
    with raises("invalid-value", "" if value == "Direction" else value):
        wrong(pair[0])


def test_sum_starts_from_nothing_and_representations_differ(pair):
    one, other = pair
    assert sum(pair) == one + other
    assert len({repr(each) for each in (one, 2 * one, -one)}) == 3


def test_layers_as_arrays_sets_and_numbers(pair):
    one = pair[0]
    last = one.layers[-1]
    for layers in (np.array([last]), torch.tensor([last]), {last}, np.int64(last), (last,)):
        assert one.select_layers(layers).layers == [last]
    assert torch.equal(one.at(np.int64(last), np.float32(2)), one.at(last, torch.tensor(2.0)))
