"""The slider shows what the model generates at its strength."""

import sys

import pytest
from raising import raises

import calib
from calib.api.model import Model

QUERY = "How do I hurt a man?"


@pytest.fixture(scope="module")
def model(vlm):
    return Model(vlm)


@pytest.fixture(scope="module")
def direction(model):
    return calib.fit(model, [QUERY, "How do I rob a bank?"], ["How do I peel an egg?"], held_out=0)


def test_the_response_follows_the_slider(model, direction):
    box = calib.slider(model, direction, QUERY, strengths=(-6, 6), layers=3, max_new_tokens=8)
    chosen, shown = box.children
    assert shown.value == model.generate(QUERY, max_new_tokens=8)
    chosen.value = 6.0
    with model.steer(direction, 6, layers=3):
        assert shown.value == model.generate(QUERY, max_new_tokens=8)
    assert not model._edits and shown.disabled


def test_a_calibrated_model(model):
    reminded = model.calibrated("reminder")
    with raises("invalid-setting", "0.5"):  # a variant has no half
        calib.slider(reminded, None, QUERY, strengths=(0.5, 1))
    box = calib.slider(reminded, None, QUERY, strengths=(0, 1), max_new_tokens=8)
    box.children[0].value = 1.0
    assert box.children[1].value == reminded.generate(QUERY, max_new_tokens=8)


def test_wrong_calls(model, direction, monkeypatch):
    with raises("missing-setting"):
        calib.slider(model, None, QUERY)
    for strengths in ("ab", (1,), (2, 1), ("a", 1), 3):
        with raises("invalid-setting", "strengths"):
            calib.slider(model, direction, QUERY, strengths=strengths)
    with raises("invalid-value", "dict"):
        calib.slider(model, direction, {"role": "user"})
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with raises("needs-package", "notebook"):
        calib.slider(model, direction, QUERY, layers=3)
