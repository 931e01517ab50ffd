"""Operators: each formula in float64, row by row in mixed company, and where formulas are thin."""

import numpy as np
import pytest
import torch
from naive_loop import apply_operator, unit_vector

from calib.engine.edits import Edit, SiteEdits
from calib.engine.operators import (
    Ablate,
    AblateByCosine,
    Add,
    AddByNorm,
    AddByNormKeepingNorm,
    AddKeepingNorm,
    Clamp,
    LowRank,
)

WIDTH = 24
CPU = torch.device("cpu")

ALONG, ACROSS = unit_vector(WIDTH, 0), unit_vector(WIDTH, 7)


def rows(rank, seed):
    """Orthonormal rows. # [rank, width]"""
    drawn = torch.stack([unit_vector(WIDTH, seed + k) for k in range(rank)])
    return torch.linalg.qr(drawn.T).Q.T.contiguous()


OPERATORS = (
    Add(3.0 * ALONG),
    AddKeepingNorm(3.0 * ALONG),
    Ablate(ALONG),
    Ablate(ALONG, -0.5),
    Clamp(ALONG, -0.3, 0.4),
    Clamp(ALONG, low=0.2),
    Clamp(ALONG, high=-0.1),
    AddByNorm(ALONG, 0.7),
    AddByNormKeepingNorm(ALONG, -0.7),
    Ablate(rows(1, 3)),
    Ablate(rows(4, 3), 0.5),
    LowRank(rows(1, 3), rows(1, 5)),
    LowRank(rows(3, 3), 2.0 * rows(3, 5), 0.3, -0.4, 0.6),
    LowRank(rows(2, 3), rows(2, 5), torch.tensor([0.1, -2.0]), high=torch.tensor([0.2, 9.0])),
    AblateByCosine(ALONG, 1.0, torch.zeros(WIDTH)),
    AblateByCosine(ALONG, 0.5, 0.8 * ACROSS - ALONG),
)
IDLE = (
    Add(torch.zeros(WIDTH)),
    AddKeepingNorm(torch.zeros(WIDTH)),
    Ablate(ALONG, 0.0),
    Clamp(ALONG),
    AddByNorm(ALONG, 0.0),
    AddByNormKeepingNorm(ALONG, 0.0),
    Ablate(rows(3, 3), 0.0),
    LowRank(rows(3, 3), torch.zeros(3, WIDTH)),
    LowRank(rows(3, 3), rows(3, 5), low=0.0, high=0.0),
    AblateByCosine(ALONG, 0.0, ACROSS),
)


def named(operator):
    return operator.name


def activations(rows, seed=1):
    return torch.randn(rows, 5, WIDTH, generator=torch.Generator().manual_seed(seed))


def applied(operators, hidden):
    """Row k of ``hidden`` with operator k, all at once."""
    return SiteEdits([(Edit(0, operator),) for operator in operators], CPU).apply(hidden)


def written_out(operator, hidden):
    """The formula for one activation. # [width] float64"""
    h = hidden
    if isinstance(operator, Add):
        return h + operator.vector.double().numpy()
    if isinstance(operator, AddKeepingNorm):
        moved = h + operator.vector.double().numpy()
        return moved * np.sqrt(np.sum(h**2)) / np.sqrt(np.sum(moved**2))
    if isinstance(operator, LowRank):
        read, write = operator.read.double().numpy(), operator.write.double().numpy()
        offset, low, high = (
            np.broadcast_to(np.asarray(one), len(read))
            for one in (operator.offset, operator.low, operator.high)
        )
        for k in range(len(read)):
            size = np.sum(read[k] * hidden) + offset[k]
            h = h + min(max(size, low[k]), high[k]) * write[k]
        return h
    d = operator.direction.double().numpy()
    length = np.sqrt(np.sum(h**2))
    if isinstance(operator, AddByNorm):
        return h + operator.strength * length * d
    if isinstance(operator, AddByNormKeepingNorm):
        moved = h / length + operator.strength * d
        return length * moved / np.sqrt(np.sum(moved**2))
    if isinstance(operator, AblateByCosine):
        apart = h - operator.reference.double().numpy()
        cosine = np.sum(apart * d) / np.sqrt(np.sum(apart**2))
        return h - operator.strength * min(max(cosine, 0.0), 1.0) * length * d
    if isinstance(operator, Ablate):
        return h - operator.strength * h @ np.atleast_2d(d).T @ np.atleast_2d(d)
    along = np.sum(h * d)
    return h + (min(max(along, operator.low), operator.high) - along) * d


@pytest.mark.parametrize("operator", OPERATORS, ids=named)
def test_the_formula(operator):
    hidden = activations(1)
    found = applied([operator], hidden)[0].double().numpy()
    expected = [written_out(operator, h) for h in hidden[0].double().numpy()]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS, ids=named)
def test_the_naive_loop_has_the_same_formula(operator):
    hidden = activations(1)
    assert torch.allclose(applied([operator], hidden), apply_operator(hidden, operator), atol=1e-5)


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


def test_ranks_of_their_own_in_one_batch():
    operators = [Ablate(rows(k, k), 0.8) for k in (1, 3, 2, 3)]
    operators += [LowRank(rows(k, k), rows(k, 9), 0.2, high=1.0) for k in (2, 5, 2)]
    hidden = activations(len(operators))
    together = applied(operators, hidden)
    for row, operator in enumerate(operators):
        assert torch.allclose(together[row], apply_operator(hidden[row], operator), atol=1e-5)


def test_a_subspace_is_gone_whatever_its_basis():
    found = applied([Ablate(rows(3, 1))], activations(1))
    assert (found @ rows(3, 1).T).abs().max() < 1e-5
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    assert torch.allclose(found, applied([Ablate(turned @ rows(3, 1))], activations(1)), atol=1e-5)


@pytest.mark.parametrize("operator", (*OPERATORS, *IDLE), ids=named)
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
def test_activations_stay_finite(operator, dtype):
    """Where there is nothing, next to nothing, and much."""
    hidden = activations(1).to(dtype)
    hidden[0, 0] = 0.0
    hidden[0, 1] = torch.finfo(dtype).smallest_normal
    hidden[0, 2] *= 3e3
    assert applied([operator], hidden).isfinite().all()


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
def test_what_is_in_proportion_to_nothing_is_nothing(dtype):
    nothing = torch.zeros(1, 2, WIDTH, dtype=dtype)
    for operator in (AddByNorm(ALONG, 2.0), AddByNormKeepingNorm(ALONG, 2.0)):
        assert torch.equal(applied([operator], nothing), nothing)


def test_a_norm_is_kept():
    hidden = activations(1)
    found = applied([AddByNormKeepingNorm(ALONG, 3.0)], hidden)
    assert torch.allclose(found.norm(dim=-1), hidden.norm(dim=-1), rtol=1e-5)
    assert (found @ ALONG / found.norm(dim=-1)).min() > 0.8


def test_only_what_points_along_the_direction_is_ablated_by_its_cosine():
    hidden = activations(1)
    reference = hidden[0, 0].clone()
    found = applied([AblateByCosine(ALONG, 1.0, reference)], hidden)
    against = (hidden - reference) @ ALONG <= 0
    assert against[0, 0] and against.sum() > 1 and not against.all()
    assert torch.equal((found == hidden).all(-1), against)
    straight = reference + 2.0 * ALONG
    removed = straight - applied([AblateByCosine(ALONG, 0.5, reference)], straight[None, None])
    assert torch.allclose(removed, 0.5 * straight.norm() * ALONG, atol=1e-4)


def test_one_number_stands_for_one_each():
    read, write, hidden = rows(3, 3), rows(3, 5), activations(1)
    one = applied([LowRank(read, write, 0.5, -1.0, 1.0)], hidden)
    each = (torch.full((3,), value) for value in (0.5, -1.0, 1.0))
    assert torch.equal(one, applied([LowRank(read, write, *each)], hidden))
