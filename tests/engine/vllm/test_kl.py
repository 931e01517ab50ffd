"""KL from returned log-probabilities: exact from all, a lower bound from the most likely."""

import pytest
import torch

from calib.engine.activations import divergence
from calib.engine.vllm.kl import FirstToken, divergences


def returned(logits, most=None):
    logprobs = logits.log_softmax(-1)
    order = logprobs.argsort(descending=True)[:most]
    return FirstToken.of((order, logprobs[order]))


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(3)
    return [3 * torch.randn(50, generator=generator) for _ in range(2)]


def test_all_log_probabilities_give_the_kl_of_the_logits(logits):
    a, b = logits
    kl, base = divergences(returned(a), returned(b), full=True)
    assert kl == pytest.approx(float(divergence(a, b)), abs=1e-6)
    assert base == pytest.approx(float(divergence(b, a)), abs=1e-6)


def test_the_most_likely_tokens_give_a_bound_that_grows_with_their_number(logits):
    a, b = logits
    exact = float(divergence(a, b))
    bounds = [divergences(returned(a, n), returned(b, n), full=False)[0] for n in (2, 20, 50)]
    assert 0 <= bounds[0] <= bounds[1] <= bounds[2] <= exact + 1e-6
    assert bounds[2] == pytest.approx(exact, abs=1e-4)


def test_equal_sides_without_a_common_token_left_out_have_no_kl(logits):
    a, _ = logits
    some = returned(a, 5)
    assert divergences(some, some, full=False) == pytest.approx((0, 0), abs=1e-9)


def test_a_token_that_is_listed_twice_counts_once_and_floors_are_zero_probability():
    first = FirstToken.of((torch.tensor([4, 1, 4]), torch.tensor([-0.1, -9999.0, -0.1])))
    assert first.ids.tolist() == [1, 4]
    assert first.dense(6).exp().tolist() == pytest.approx([0, 0, 0, 0, 0.904837, 0])
    assert not FirstToken.of((torch.tensor([0]), torch.tensor([float("nan")]))).is_finite
