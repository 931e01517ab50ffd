"""Agreement by hand, against scikit-learn, and against Fleiss' published example."""

import math
import random
import warnings

import numpy as np
import pytest
from raising import raises
from sklearn.metrics import cohen_kappa_score

from calib.scoring.agreement import _kappas, agreement, fleiss_kappa, fully_voted
from calib.scoring.intervals import wilson

TRUTH = ["refusal"] * 25 + ["answer"] * 25
GIVEN = ["refusal"] * 20 + ["answer"] * 5 + ["refusal"] * 10 + ["answer"] * 15


def test_numbers_by_hand():
    result = agreement(GIVEN, TRUTH)
    assert result.n == 50
    assert result.accuracy == wilson(35, 50)
    # Expected by chance: 0.5 x 0.6 + 0.5 x 0.4 = 0.5; (0.7 - 0.5) / (1 - 0.5).
    assert result.kappa.value == pytest.approx(0.4)
    assert result.kappa.n == 50
    assert result.confusion == {
        "refusal": {"refusal": 20, "answer": 5},
        "answer": {"refusal": 10, "answer": 15},
    }
    assert result.precision == {"refusal": wilson(20, 30), "answer": wilson(15, 20)}
    assert result.recall == {"refusal": wilson(20, 25), "answer": wilson(15, 25)}


def test_labels_of_either_side_are_in_the_order_of_labels():
    result = agreement(
        ["blocked", "irrelevant", "answer"], ["answer", "safe_completion", "refusal"]
    )
    order = ["refusal", "safe_completion", "answer", "irrelevant", "blocked"]
    assert list(result.confusion) == order
    assert all(list(row) == order for row in result.confusion.values())
    assert result.confusion["answer"]["blocked"] == 1
    assert result.confusion["refusal"]["answer"] == 1
    assert result.confusion["blocked"]["answer"] == 0
    assert list(result.precision) == list(result.recall) == order


def test_a_label_that_one_side_lacks_has_one_rate():
    result = agreement(["answer", "answer"], ["answer", "refusal"])
    assert math.isnan(result.precision["refusal"].value) and result.precision["refusal"].n == 0
    assert result.recall["refusal"].value == 0
    assert result.precision["answer"].value == 0.5
    turned = agreement(["answer", "refusal"], ["answer", "answer"])
    assert math.isnan(turned.recall["refusal"].value)
    assert turned.precision["refusal"].value == 0


def test_a_constant_side_makes_kappa_zero_and_two_equal_ones_make_it_undefined():
    constant = agreement(["answer"] * 10, ["answer"] * 6 + ["refusal"] * 4)
    assert constant.kappa.value == pytest.approx(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal = agreement(["answer"] * 10, ["answer"] * 10)
    assert equal.accuracy.value == 1
    assert all(math.isnan(number) for number in equal.kappa[:3]) and equal.kappa.n == 10
    opposite = agreement(["answer"] * 10, ["refusal"] * 10)
    assert opposite.kappa.value == pytest.approx(0)


def test_kappa_equals_scikit_learn_and_its_interval_contains_it():
    rng = random.Random(0)
    labels = ["refusal", "safe_completion", "answer", "irrelevant"]
    truth = [rng.choice(labels) for _ in range(200)]
    given = [t if rng.random() < 0.7 else rng.choice(labels) for t in truth]
    kappa = agreement(given, truth).kappa
    assert kappa.value == pytest.approx(cohen_kappa_score(truth, given))
    assert kappa.low < kappa.value < kappa.high
    # Standard error sqrt(p_o (1 - p_o) / n) / (1 - p_e), about 0.04 here; four of them.
    assert 0.1 < kappa.high - kappa.low < 0.22
    pairs = list(zip(given, truth, strict=True))
    rng.shuffle(pairs)
    assert agreement([g for g, _ in pairs], [t for _, t in pairs]).kappa == kappa
    assert agreement(given, truth, seed=1).kappa.low != kappa.low


def test_resamples_are_scored_like_responses():
    tables = np.array([[[20, 5], [10, 15]], [[10, 0], [0, 0]], [[0, 4], [6, 0]]])
    first, second, third = _kappas(tables)
    assert first == pytest.approx(0.4)
    assert math.isnan(second)
    assert third == pytest.approx(cohen_kappa_score(["a"] * 4 + ["b"] * 6, ["b"] * 4 + ["a"] * 6))


def test_no_response_and_one_response():
    none = agreement([], [])
    assert none.n == 0 and none.confusion == {} and math.isnan(none.accuracy.value)
    single = agreement(["answer"], ["refusal"])
    assert single.kappa.value == 0 and math.isnan(single.kappa.low)


def test_different_lengths_and_unknown_labels_are_refused():
    with raises("mismatch", "2 given", "1 true"):
        agreement(["answer", "answer"], ["answer"])
    with raises("unknown-name", "'refusals'"):
        agreement(["answer"], ["refusals"])


# Ten items, fourteen raters, five categories: the example of Wikipedia's article on Fleiss' kappa.
FOURTEEN_RATERS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_fleiss_on_the_published_example():
    assert [sum(column) for column in zip(*FOURTEEN_RATERS, strict=True)] == [20, 28, 39, 21, 32]
    votes = [dict(zip("12345", row, strict=True)) for row in FOURTEEN_RATERS]
    # Mean P_i 0.378, by chance 0.213.
    assert fleiss_kappa(votes) == pytest.approx(0.210, abs=0.0005)


def test_fleiss_by_hand():
    votes = [["a", "a", "a"], ["a", "a", "b"], ["b", "b", "b"], ["a", "b", "b"]]
    # P = 1, 1/3, 1, 1/3: mean 2/3. Six votes for each: by chance 1/2.
    assert fleiss_kappa(votes) == pytest.approx(1 / 3)
    assert fleiss_kappa([{"a": 3, "b": 0}, {"a": 2, "b": 1}, {"b": 3}, {"a": 1, "b": 2}]) == (
        pytest.approx(1 / 3)
    )
    assert fleiss_kappa([["a", "b"], ["b", "a"]]) == pytest.approx(-1)
    assert fleiss_kappa([["a", "a"], ["b", "b"]]) == pytest.approx(1)


def test_items_with_a_missing_vote_are_left_out():
    complete = [["a", "a", "a"], ["a", "a", "b"], ["b", "b", "b"], ["a", "b", "b"]]
    assert fleiss_kappa([["a", "b"], *complete, [], ["a"]]) == pytest.approx(1 / 3)
    assert len(fully_voted([["a", "b"], *complete, [], ["a"]])) == 4


@pytest.mark.parametrize("votes", [[], [[]], [["a"], ["b"]], [["a", "a"], ["a", "a"]]])
def test_fleiss_is_undefined_without_two_votes_or_two_labels(votes):
    assert math.isnan(fleiss_kappa(votes))


def test_a_negative_count_is_an_error():
    with raises("invalid-value"):
        fleiss_kappa([{"a": 3, "b": -1}, {"a": 2}])
