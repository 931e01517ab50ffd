"""What the controls offer for a method."""

from types import SimpleNamespace

import pytest

from calib.interventions.intervention import NO_INTERVENTION, Axis, Method
from calib.serving.playground.controls import command, controls, row, slider
from calib.serving.served_model import ServedModel

VLM = SimpleNamespace(checkpoint="mini-internvl")


def served(axis, strength=0.0, strengths=(), layers=(3,), **settings):
    method = Method("steer", axis, layers, lambda layer, strength: NO_INTERVENTION, **settings)
    return ServedModel(VLM, "mini", method, layers[0], strength, strengths)


@pytest.mark.parametrize(
    ("axis", "strength", "strengths", "expected"),
    [
        (Axis("in gaps"), 1, [-2, -1, 1, 2], {"least": -4, "most": 4, "step": 0.1}),
        (Axis("of the norm"), 0.03, [], {"least": -0.06, "most": 0.06, "step": 0.001}),
        (Axis("in gaps", signed=False), 0, [], {"least": 0, "most": 2, "step": 0.05}),
        (Axis("in gaps", default_scale=70), 0, [], {"least": -140, "most": 140, "step": 2}),
    ],
)
def test_the_slider_reaches_twice_the_strengths_in_use(axis, strength, strengths, expected):
    one = served(axis, strength, strengths)
    assert slider(one, one.method) == pytest.approx(expected)


def test_a_row_has_the_strengths_in_use_or_even_ones():
    used = served(Axis("in gaps"), 1, [-1, 1, 2])
    assert row(used, used.method) == [-1, 0, 1, 2]
    many = served(Axis("in gaps"), 1, range(-20, 21))
    assert row(many, many.method) == [-20, -12, -4, 4, 12, 20]
    fresh = served(Axis("in gaps", default_scale=2))
    assert row(fresh, fresh.method) == [-2, -1, 0, 1, 2]
    unsigned = served(Axis("in gaps", signed=False), 4)
    assert row(unsigned, unsigned.method) == [0, 1, 2, 3, 4]


def test_a_count_or_a_variant_has_its_strengths_by_name():
    axis = Axis("number of the variant", integer=True)
    stops = controls(served(axis, 2, [1, 2], [None], variants={1: "short"}))["stops"]
    assert [stop["strength"] for stop in stops] == [0, 1, 2]
    assert [stop["name"] for stop in stops] == ["0", "short", "2"]


def test_a_model_without_a_method_has_no_setting():
    found = controls(ServedModel(VLM, "mini"))
    assert found["method"] is None and found["uncalibrated"] == "mini"


def test_the_command_leaves_out_what_the_page_adds_and_what_concerns_the_server():
    given = ["run=my runs/a", "pick=steer", "layer=3", "strength=1", "port=0", "host=0.0.0.0"]
    assert command(given) == "python -m calib.serve 'run=my runs/a'"
