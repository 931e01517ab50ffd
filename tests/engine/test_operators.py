"""Operators: formulas in float64, independence of rows in a batch, and numerical edge cases."""

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
    vectors = torch.stack([unit_vector(WIDTH, seed + k) for k in range(rank)])
    return torch.linalg.qr(vectors.T).Q.T.contiguous()


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


def operator_name(operator):
    return operator.name


def activations(rows, seed=1):
    return torch.randn(rows, 5, WIDTH, generator=torch.Generator().manual_seed(seed))


def applied(operators, hidden):
    """Row k of ``hidden`` edited by operator k, in one batch."""
    return SiteEdits([(Edit(0, operator),) for operator in operators], CPU).apply(hidden)


def formula(operator, hidden):
    """The operator's formula for one activation. # [width] float64"""
    h = hidden
    if isinstance(operator, Add):
        return h + operator.vector.double().numpy()
    if isinstance(operator, AddKeepingNorm):
        moved = h + operator.vector.double().numpy()
        return moved * np.sqrt(np.sum(h**2)) / np.sqrt(np.sum(moved**2))
    if isinstance(operator, LowRank):
        read, write = operator.read.double().numpy(), operator.write.double().numpy()
        offset, low, high = (
            np.broadcast_to(np.asarray(value), len(read))
            for value in (operator.offset, operator.low, operator.high)
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
        difference = h - operator.reference.double().numpy()
        cosine = np.sum(difference * d) / np.sqrt(np.sum(difference**2))
        return h - operator.strength * min(max(cosine, 0.0), 1.0) * length * d
    if isinstance(operator, Ablate):
        return h - operator.strength * h @ np.atleast_2d(d).T @ np.atleast_2d(d)
    component = np.sum(h * d)
    return h + (min(max(component, operator.low), operator.high) - component) * d


@pytest.mark.parametrize("operator", OPERATORS, ids=operator_name)
def test_the_formula(operator):
    hidden = activations(1)
    edited = applied([operator], hidden)[0].double().numpy()
    expected = [formula(operator, h) for h in hidden[0].double().numpy()]
    np.testing.assert_allclose(edited, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", OPERATORS, ids=operator_name)
def test_the_naive_loop_has_the_same_formula(operator):
    hidden = activations(1)
    assert torch.allclose(applied([operator], hidden), apply_operator(hidden, operator), atol=1e-5)


def test_a_row_does_not_depend_on_the_batch():
    mixed = [*OPERATORS, *reversed(OPERATORS), *IDLE]
    hidden = activations(len(mixed))
    together = applied(mixed, hidden)
    for row, operator in enumerate(mixed):
        assert torch.equal(together[row], applied([operator], hidden[row : row + 1])[0])


@pytest.mark.parametrize("operator", OPERATORS, ids=operator_name)
def test_the_input_is_not_modified(operator):
    hidden = activations(1)
    before = hidden.clone()
    assert not torch.equal(applied([operator], hidden), hidden)
    assert torch.equal(hidden, before)


@pytest.mark.parametrize("operator", IDLE, ids=operator_name)
def test_operators_without_effect_are_bit_exact(operator):
    hidden = 1e3 * activations(1)
    assert torch.equal(applied([operator], hidden), hidden)


@pytest.mark.parametrize("operator", (*OPERATORS, *IDLE), ids=operator_name)
@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_the_dtype_is_preserved(operator, dtype):
    hidden = activations(1).to(dtype)
    edited = applied([operator], hidden)
    assert edited.dtype == dtype
    assert torch.allclose(edited.float(), applied([operator], hidden.float()), atol=0.05)


def test_norm_preserving_addition_leaves_zero_activations_at_zero():
    hidden = activations(1)
    hidden[0, 2] = 0.0
    edited = applied([AddKeepingNorm(4.0 * ALONG)], hidden)
    assert torch.equal(edited[0, 2], torch.zeros(WIDTH))
    assert edited.isfinite().all()


@pytest.mark.parametrize("dtype", (torch.float32, torch.float16))
def test_a_vector_that_cancels_the_activation(dtype):
    """The sum has no direction, so any finite result is acceptable."""
    hidden = (40.0 * ALONG.to(dtype)).expand(1, 1, WIDTH)
    assert applied([AddKeepingNorm(-hidden[0, 0].float())], hidden).isfinite().all()


def test_a_clamp_with_equal_bounds_sets_the_component():
    edited = applied([Clamp(ALONG, 2.5, 2.5)], activations(1))
    assert torch.allclose(edited @ ALONG, torch.tensor(2.5), atol=1e-5)


def test_a_component_between_the_bounds_is_unchanged():
    hidden = activations(1, seed=3)
    inside = (hidden @ ALONG).abs() < 0.8
    assert inside.any() and not inside.all()
    edited = applied([Clamp(ALONG, -0.8, 0.8)], hidden)
    assert torch.equal((edited == hidden).all(-1), inside)


def test_rows_of_different_ranks_in_one_batch():
    operators = [Ablate(rows(k, k), 0.8) for k in (1, 3, 2, 3)]
    operators += [LowRank(rows(k, k), rows(k, 9), 0.2, high=1.0) for k in (2, 5, 2)]
    hidden = activations(len(operators))
    together = applied(operators, hidden)
    for row, operator in enumerate(operators):
        assert torch.allclose(together[row], apply_operator(hidden[row], operator), atol=1e-5)


def test_ablation_of_a_subspace_does_not_depend_on_its_basis():
    edited = applied([Ablate(rows(3, 1))], activations(1))
    assert (edited @ rows(3, 1).T).abs().max() < 1e-5
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    rotated = applied([Ablate(rotation @ rows(3, 1))], activations(1))
    assert torch.allclose(edited, rotated, atol=1e-5)


@pytest.mark.parametrize("operator", (*OPERATORS, *IDLE), ids=operator_name)
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
def test_activations_stay_finite(operator, dtype):
    """For zero, tiny and large activations."""
    hidden = activations(1).to(dtype)
    hidden[0, 0] = 0.0
    hidden[0, 1] = torch.finfo(dtype).smallest_normal
    hidden[0, 2] *= 3e3
    assert applied([operator], hidden).isfinite().all()


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
def test_addition_by_norm_leaves_zero_activations_at_zero(dtype):
    zeros = torch.zeros(1, 2, WIDTH, dtype=dtype)
    for operator in (AddByNorm(ALONG, 2.0), AddByNormKeepingNorm(ALONG, 2.0)):
        assert torch.equal(applied([operator], zeros), zeros)


def test_norm_preserving_addition_by_norm_preserves_the_norm():
    hidden = activations(1)
    edited = applied([AddByNormKeepingNorm(ALONG, 3.0)], hidden)
    assert torch.allclose(edited.norm(dim=-1), hidden.norm(dim=-1), rtol=1e-5)
    assert (edited @ ALONG / edited.norm(dim=-1)).min() > 0.8


def test_ablation_by_cosine_changes_only_activations_along_the_direction():
    hidden = activations(1)
    reference = hidden[0, 0].clone()
    edited = applied([AblateByCosine(ALONG, 1.0, reference)], hidden)
    against = (hidden - reference) @ ALONG <= 0
    assert against[0, 0] and against.sum() > 1 and not against.all()
    assert torch.equal((edited == hidden).all(-1), against)
    parallel = reference + 2.0 * ALONG
    removed = parallel - applied([AblateByCosine(ALONG, 0.5, reference)], parallel[None, None])
    assert torch.allclose(removed, 0.5 * parallel.norm() * ALONG, atol=1e-4)


def test_a_number_applies_to_every_rank():
    read, write, hidden = rows(3, 3), rows(3, 5), activations(1)
    edited = applied([LowRank(read, write, 0.5, -1.0, 1.0)], hidden)
    by_rank = (torch.full((3,), value) for value in (0.5, -1.0, 1.0))
    assert torch.equal(edited, applied([LowRank(read, write, *by_rank)], hidden))


@pytest.mark.parametrize("operator", OPERATORS, ids=operator_name)
def test_norms_and_components_beyond_float16_do_not_overflow(operator):
    """Each activation and each result is below 65,504; norms and products are not."""
    hidden = activations(1).sign().mul(2e4).half()
    assert hidden[0, 0].norm().isinf()
    edited = applied([operator], hidden)
    assert edited.isfinite().all()
    expected = formula(operator, hidden[0, 0].double().numpy())
    assert np.allclose(edited[0, 0].double().numpy(), expected, rtol=2e-3, atol=30)


@pytest.mark.parametrize("operator", OPERATORS, ids=operator_name)
def test_edits_of_float32_are_the_formulas_to_the_bit(operator):
    hidden = activations(1)
    tensors = [tensor[None, None] for tensor in operator.tensors()]
    assert torch.equal(applied([operator], hidden), operator.formula(hidden, *tensors))
