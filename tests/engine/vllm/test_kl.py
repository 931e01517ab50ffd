"""KL from returned log-probabilities: exact from all, a lower bound from the most likely."""

import pytest
import torch
from raising import raises

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


def test_the_bound_is_one_where_rounding_hides_what_is_left_of_the_vocabulary():
    # In float32 the most likely token of the reference seems to have all of the probability.
    edited, reference = torch.zeros(4), torch.tensor([20.0, 3.0, 2.0, 1.0])
    exact = float(divergence(edited, reference))
    for bound in divergences(returned(edited, 1), returned(reference, 1), full=False):
        assert 0 < bound <= exact
    likely = torch.tensor([0]), torch.tensor([0.0])
    bound, _ = divergences(returned(edited, 1), FirstToken.of(likely), full=False)
    assert 0 < bound <= exact


def test_what_is_not_finite_stays_so_and_impossible_tokens_give_a_finite_kl():
    undefined = FirstToken.of((torch.tensor([0, 1]), torch.tensor([-0.1, float("nan")])))
    assert undefined.dense(3).isnan().all()
    certain = FirstToken.of((torch.tensor([0, 1]), torch.tensor([0.0, -9999.0])))
    even = FirstToken.of((torch.tensor([0, 1]), torch.tensor([0.5, 0.5]).log()))
    assert divergences(even, certain, full=True)[0] == pytest.approx(9999 / 2, rel=1e-3)


def test_a_part_of_the_vocabulary_is_not_taken_for_all_of_it(logits):
    returned(logits[0]).require_whole()
    with raises("mismatch", "5", "--max-logprobs", "engine.first_token"):
        returned(logits[0], 5).require_whole()
