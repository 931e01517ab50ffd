"""Agreement by hand, against scikit-learn, and against Fleiss' published example."""

import math
import random
import warnings

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from calib.scoring.agreement import _kappas, agreement, fleiss_kappa, fully_voted
from calib.scoring.intervals import wilson
from calib.util.errors import CalibError

TRUTH = ["refusal"] * 25 + ["answer"] * 25
GIVEN = ["refusal"] * 20 + ["answer"] * 5 + ["refusal"] * 10 + ["answer"] * 15


def test_numbers_by_hand():
    found = agreement(GIVEN, TRUTH)
    assert found.n == 50
    assert found.accuracy == wilson(35, 50)
    # By chance 0.5 x 0.6 + 0.5 x 0.4 = 0.5; (0.7 - 0.5) / (1 - 0.5).
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.n == 50
    assert found.confusion == {
        "refusal": {"refusal": 20, "answer": 5},
        "answer": {"refusal": 10, "answer": 15},
    }
    assert found.precision == {"refusal": wilson(20, 30), "answer": wilson(15, 20)}
    assert found.recall == {"refusal": wilson(20, 25), "answer": wilson(15, 25)}


def test_labels_stand_in_the_order_of_the_labels_whichever_side_has_them():
    found = agreement(["blocked", "irrelevant", "answer"], ["answer", "safe_completion", "refusal"])
    order = ["refusal", "safe_completion", "answer", "irrelevant", "blocked"]
    assert list(found.confusion) == order
    assert all(list(row) == order for row in found.confusion.values())
    assert found.confusion["answer"]["blocked"] == 1
    assert found.confusion["refusal"]["answer"] == 1
    assert found.confusion["blocked"]["answer"] == 0
    assert list(found.precision) == list(found.recall) == order


def test_a_label_that_one_side_lacks_has_one_rate():
    found = agreement(["answer", "answer"], ["answer", "refusal"])
    assert math.isnan(found.precision["refusal"].value) and found.precision["refusal"].n == 0
    assert found.recall["refusal"].value == 0
    assert found.precision["answer"].value == 0.5
    turned = agreement(["answer", "refusal"], ["answer", "answer"])
    assert math.isnan(turned.recall["refusal"].value)
    assert turned.precision["refusal"].value == 0


def test_a_constant_column_leaves_kappa_zero_and_two_alike_leave_it_undefined():
    constant = agreement(["answer"] * 10, ["answer"] * 6 + ["refusal"] * 4)
    assert constant.kappa.value == pytest.approx(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike = agreement(["answer"] * 10, ["answer"] * 10)
    assert alike.accuracy.value == 1
    assert all(math.isnan(number) for number in alike.kappa[:3]) and alike.kappa.n == 10
    opposite = agreement(["answer"] * 10, ["refusal"] * 10)
    assert opposite.kappa.value == pytest.approx(0)


def test_kappa_is_that_of_scikit_learn_and_its_interval_holds_it():
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


def test_the_draws_are_scored_like_the_responses():
    tables = np.array([[[20, 5], [10, 15]], [[10, 0], [0, 0]], [[0, 4], [6, 0]]])
    first, second, third = _kappas(tables)
    assert first == pytest.approx(0.4)
    assert math.isnan(second)
    assert third == pytest.approx(cohen_kappa_score(["a"] * 4 + ["b"] * 6, ["b"] * 4 + ["a"] * 6))


def test_nothing_and_one_response():
    nothing = agreement([], [])
    assert nothing.n == 0 and nothing.confusion == {} and math.isnan(nothing.accuracy.value)
    one = agreement(["answer"], ["refusal"])
    assert one.kappa.value == 0 and math.isnan(one.kappa.low)


def test_what_cannot_be_compared_is_an_error():
    with pytest.raises(CalibError, match="2 given labels stand against 1"):
        agreement(["answer", "answer"], ["answer"])
    with pytest.raises(CalibError, match="Unknown label 'refusals'"):
        agreement(["answer"], ["refusals"])


# Ten items, fourteen raters, five categories: the example of Wikipedia's article on the measure.
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


def test_items_that_a_rater_left_out_do_not_count():
    whole = [["a", "a", "a"], ["a", "a", "b"], ["b", "b", "b"], ["a", "b", "b"]]
    assert fleiss_kappa([["a", "b"], *whole, [], ["a"]]) == pytest.approx(1 / 3)
    assert len(fully_voted([["a", "b"], *whole, [], ["a"]])) == 4


@pytest.mark.parametrize("votes", [[], [[]], [["a"], ["b"]], [["a", "a"], ["a", "a"]]])
def test_fleiss_is_undefined_without_two_votes_or_two_labels(votes):
    assert math.isnan(fleiss_kappa(votes))


def test_a_negative_count_is_an_error():
    with pytest.raises(CalibError, match="negative number of votes"):
        fleiss_kappa([{"a": 3, "b": -1}, {"a": 2}])
