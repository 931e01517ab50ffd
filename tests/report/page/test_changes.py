"""The words for what a method changed claim no more than its intervals show."""

from types import SimpleNamespace

import pytest

from calib.report.page.changes import change, headline, sentences
from calib.report.page.verdicts import verdicts
from calib.report.verdict import sign
from calib.scoring.intervals import Interval

UP, LITTLE_UP, NONE, DOWN = (
    Interval(value, value - 0.02, value + 0.02, 100) for value in (0.3, 0.03, 0.01, -0.3)
)


def made_change(sra=NONE, sra_u=NONE, sra_s=NONE, utility=NONE, rate="SRA"):
    return SimpleNamespace(sra=sra, sra_u=sra_u, sra_s=sra_s, utility=utility, rate=rate)


def method(kept=False):
    return SimpleNamespace(choice=SimpleNamespace(kept_baseline=kept))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sra": UP}, "Yes"),
        ({"sra": LITTLE_UP}, "Yes, a little"),
        ({"sra": UP, "utility": DOWN}, "Yes, at a cost in utility"),
        ({"sra": UP, "utility": UP}, "Yes, and utility rose too"),
        ({"sra": DOWN}, "No: it lowered SRA"),
        ({"sra": DOWN, "rate": "SRA_u"}, "No: it lowered SRA_u"),
        ({"sra_u": UP, "sra_s": DOWN}, "No: it moved refusals from one side to the other"),
        ({}, "No measurable change"),
        ({"sra_u": UP}, "No measurable change"),
        ({"utility": DOWN}, "No measurable change, at a cost in utility"),
        ({"sra": None}, "It cannot be said"),
    ],
)
def test_the_answer_in_a_few_words(changes, said):
    assert headline(method(), made_change(**changes)) == said
    assert headline(method(kept=True), made_change(**changes)) == "No"


@pytest.mark.parametrize(
    ("low", "high", "way"),
    [
        (0.0004, 0.2, 0),
        (0.0006, 0.2, 1),
        (-0.2, -0.0006, -1),
        (-0.1, 0.1, 0),
        (float("nan"), float("nan"), 0),
    ],
)
def test_a_change_is_one_only_where_the_printed_interval_excludes_zero(low, high, way):
    assert sign(Interval(0.1, low, high, 9)) == way


def test_the_numbers_are_those_of_the_answers(run):
    (one,) = run.methods
    assert (one.tested.strength, one.layer) == (1.0, 3)
    moved = change(run, one.tested, run.baseline)
    assert moved.sra_u.value == pytest.approx(9 / 18) and moved.sra_u.n == 18
    assert moved.sra_s.value == 0 and moved.sra.value == pytest.approx(0.25)
    assert moved.utility == Interval(0, 0, 0, 2)
    said = sentences(one, moved)
    assert "steer (layer 3, strength 1) raised SRA by 25.0 points (95% CI" in said
    assert "at no measurable cost in utility" in said
    assert said.endswith("More unsafe queries were handled safely.")


def test_one_side_of_a_benchmark_is_named(made, tmp_path):
    examples = [one for one in made.examples(40) if one.safety != "safe"]
    found = made.run(tmp_path / "run", examples)
    (one,) = verdicts(found)
    assert one.change.rate == "SRA_u" and one.change.sra.value == pytest.approx(0.5)
    assert "raised SRA_u by 50.0 points" in sentences(one.method, one.change)
