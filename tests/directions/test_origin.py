"""Directions travel between settings: what is compared, what is refused, and what is noted."""

import dataclasses
import json
import warnings

import pytest
import torch
from raising import raises
from random_directions import direction_at
from safetensors import safe_open

from calib.api import Model
from calib.config.model import ModelConfig
from calib.directions.direction import HEADER, read_direction, write_direction
from calib.directions.fit import require_match
from calib.directions.origin import differences, origin_of, shown
from calib.models.load import load

TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}{{ part.get('text', '<IMG_CONTEXT>') }}{% endfor %}{% endfor %}"  # noqa: E501


@pytest.fixture
def direction(vlm):
    return direction_at(vlm, [2, 3], origin=origin_of(vlm))


def loaded(**settings):
    return load(ModelConfig("internvl", **settings))


def test_a_file_records_weights_and_settings(vlm, direction, tmp_path):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction)
    assert read_direction(path).origin == direction.origin
    recorded = direction.origin
    assert (recorded["dtype"], recorded["attention"], recorded["quantization"]) == (
        "float32", "sdpa", "none"
    )  # fmt: skip
    assert recorded["pictures"]["tiles"] is False and recorded["pictures"]["size"]["height"] == 64
    assert str(tmp_path.home()) not in json.dumps(recorded)
    first = path.read_bytes()
    for _ in range(4):  # safetensors alone would write the metadata in random order
        write_direction(path, direction)
        assert path.read_bytes() == first
    # Earlier versions reject a header with a field that they do not know.
    with safe_open(path, "pt") as file:
        assert "origin" not in json.loads(file.metadata()[HEADER])


def test_a_file_of_an_earlier_version_fits_the_same_fingerprint_only(vlm, tmp_path):
    path = tmp_path / "d.safetensors"
    write_direction(path, direction_at(vlm, [2]))
    earlier = read_direction(path)
    assert earlier.origin == {} and require_match(earlier, vlm, "d") == []
    other = dataclasses.replace(vlm, fingerprint="other", accept_directions="same_weights")
    with raises("mismatch", "d", vlm.fingerprint, "other"):
        require_match(earlier, other, "d")


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"attention": "eager"}, "attention: sdpa → eager"),
        ({"checkpoint": "COPY"}, "checkpoint: mini-internvl → "),
    ],
)
def test_differences_of_rounding_and_place_are_noted(direction, settings, difference, tmp_path):
    if "checkpoint" in settings:
        loaded().model.save_pretrained(tmp_path, max_shard_size="1MB")
        loaded().processor.save_pretrained(tmp_path)
        settings = {"checkpoint": str(tmp_path)}
    (note,) = require_match(direction, loaded(**settings), "d")
    assert difference in note and note.count("→") == 2


def test_another_device_is_noted(vlm, direction):
    assert require_match(direction, vlm, "d") == []
    elsewhere = dataclasses.replace(direction, origin=direction.origin | {"device": "cuda"})
    (note,) = require_match(elsewhere, vlm, "d")
    assert "device: cuda → cpu" in note


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"dtype": "bfloat16"}, ["dtype: float32 → bfloat16", "model.dtype"]),
        ({"chat_template": TEMPLATE}, ["template: ", "model.chat_template"]),
        ({"tiles": True}, ["pictures.tiles: false → true", "model.tiles"]),
        (
            {"dtype": "float16", "attention": "eager", "tiles": True},
            ["dtype: float32 → float16", "pictures.tiles: false → true"],
        ),
    ],
)
def test_other_settings_are_named_and_accepted_by_a_setting(direction, settings, changes):
    with raises("mismatch", "d", *changes, "model.accept_directions=same_weights"):
        require_match(direction, loaded(**settings), "d")
    accepting = loaded(**settings, accept_directions="same_weights")
    (note,) = require_match(direction, accepting, "d")
    assert changes[0] in note


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (
            {"template_kwargs": {"enable_thinking": False}},
            'template_kwargs: {} → {"enable_thinking": false}',
        ),
        ({"system_place": "user"}, "system_place: template → user"),
        ({"max_pixels": 1000}, "pictures.scaled_down_to: none → 1000"),
    ],
)
def test_settings_of_the_prompt_are_compared(vlm, direction, change, difference):
    other = dataclasses.replace(vlm, fingerprint="other", **change)
    with raises("mismatch", difference, "model."):
        require_match(direction, other, "d")


def test_other_weights_are_never_accepted(direction, tmp_path):
    model = loaded()
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.mul_(1.01)
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    trained = loaded(checkpoint=str(tmp_path), accept_directions="same_weights")
    with raises("mismatch", "d", f"weights: {direction.origin['weights']} → ", tmp_path):
        require_match(direction, trained, "d")


def test_a_direction_steers_under_another_dtype(direction):
    model = Model(loaded(dtype="bfloat16"))
    with raises("mismatch", "dtype: float32 → bfloat16"), model.steer(direction, layers=3):
        pass
    model = Model(loaded(dtype="bfloat16", accept_directions="same_weights"))
    plain = model.generate("what is this?")
    with (
        pytest.warns(UserWarning, match="dtype: float32 → bfloat16"),
        model.steer(direction, strength=20.0, layers=3),
    ):
        assert model.generate("what is this?") != plain
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Model(loaded()).steer(direction, layers=3):
            pass


def test_differences_by_field():
    there = {"a": 1, "b": {"c": [1], "d": {"e": None}, "gone": 2}, "f": "x" * 100}
    now = {"a": 2, "b": {"c": [2], "d": {"e": 3}, "new": 2}, "f": "y" * 100}
    different = differences(there, now)
    assert different == {"a": (1, 2), "b.c": ([1], [2]), "f": ("x" * 100, "y" * 100)}
    lines = shown(different)
    assert lines[:2] == ["a: 1 → 2", "b.c: [1] → [2]"] and max(map(len, lines)) < 130
    many = {str(k): (0, 1) for k in range(30)}
    assert len(shown(many)) == 9 and shown(many)[-1] == "22 more"
