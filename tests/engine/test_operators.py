"""Operators: each formula in float64, row by row in mixed company, and where formulas are thin."""

import numpy as np
import pytest
import torch
from naive_loop import direction

from calib.engine.edit import Edit, LayerEdits
from calib.engine.operators import Ablate, Add, AddKeepingNorm, Clamp

WIDTH = 24
CPU = torch.device("cpu")

ALONG = direction(WIDTH, 0)
OPERATORS = (
    Add(3.0 * ALONG),
    AddKeepingNorm(3.0 * ALONG),
    Ablate(ALONG),
    Ablate(ALONG, -0.5),
    Clamp(ALONG, -0.3, 0.4),
    Clamp(ALONG, low=0.2),
    Clamp(ALONG, high=-0.1),
)
IDLE = (
    Add(torch.zeros(WIDTH)),
    AddKeepingNorm(torch.zeros(WIDTH)),
    Ablate(ALONG, 0.0),
    Clamp(ALONG),
)


def named(operator):
    return operator.name


def activations(rows, seed=1):
    return torch.randn(rows, 5, WIDTH, generator=torch.Generator().manual_seed(seed))


def applied(operators, hidden):
    """Row k of ``hidden`` with operator k, all at once."""
    return LayerEdits([(Edit(0, operator),) for operator in operators], CPU).apply(hidden)


def written_out(operator, h):
    """The formula for one activation. # [width] float64"""
    if isinstance(operator, Add):
        return h + operator.vector.double().numpy()
    if isinstance(operator, AddKeepingNorm):
        moved = h + operator.vector.double().numpy()
        return moved * np.sqrt(np.sum(h**2)) / np.sqrt(np.sum(moved**2))
    d = operator.direction.double().numpy()
    along = np.sum(h * d)
    if isinstance(operator, Ablate):
        return h - operator.strength * along * d
    return h + (min(max(along, operator.low), operator.high) - along) * d


@pytest.mark.parametrize("operator", OPERATORS, ids=named)
def test_the_formula(operator):
    hidden = activations(1)
    found = applied([operator], hidden)[0].double().numpy()
    expected = [written_out(operator, h) for h in hidden[0].double().numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_row_among_others_is_as_alone():
    mixed = [*OPERATORS, *reversed(OPERATORS), *IDLE]
    hidden = activations(len(mixed))
    together = applied(mixed, hidden)
    for row, operator in enumerate(mixed):
        assert torch.equal(together[row], applied([operator], hidden[row : row + 1])[0])


@pytest.mark.parametrize("operator", OPERATORS, ids=named)
def test_what_is_edited_stays_whole(operator):
    hidden = activations(1)
    before = hidden.clone()
    assert not torch.equal(applied([operator], hidden), hidden)
    assert torch.equal(hidden, before)


@pytest.mark.parametrize("operator", IDLE, ids=named)
def test_what_changes_nothing_is_exact(operator):
    hidden = 1e3 * activations(1)
    assert torch.equal(applied([operator], hidden), hidden)


@pytest.mark.parametrize("operator", (*OPERATORS, *IDLE), ids=named)
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_a_narrow_type_stays_narrow(operator, dtype):
    hidden = activations(1).to(dtype)
    found = applied([operator], hidden)
    assert found.dtype == dtype
    assert torch.allclose(found.float(), applied([operator], hidden.float()), atol=0.05)


def test_keeping_the_norm_of_nothing_is_nothing():
    hidden = activations(1)
    hidden[0, 2] = 0.0
    found = applied([AddKeepingNorm(4.0 * ALONG)], hidden)
    assert torch.equal(found[0, 2], torch.zeros(WIDTH))
    assert found.isfinite().all()


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16))
def test_a_vector_that_cancels_the_activation(dtype):
    """It has no direction left to keep the norm in: anything but a number that is not finite."""
    hidden = (40.0 * ALONG.to(dtype)).expand(1, 1, WIDTH)
    assert applied([AddKeepingNorm(-hidden[0, 0].float())], hidden).isfinite().all()


def test_a_clamp_with_equal_bounds_sets_the_component():
    found = applied([Clamp(ALONG, 2.5, 2.5)], activations(1))
    assert torch.allclose(found @ ALONG, torch.tensor(2.5), atol=1e-5)


def test_a_component_between_the_bounds_is_left_alone():
    hidden = activations(1, seed=3)
    inside = (hidden @ ALONG).abs() < 0.8
    assert inside.any() and not inside.all()
    found = applied([Clamp(ALONG, -0.8, 0.8)], hidden)
    assert torch.equal((found == hidden).all(-1), inside)
