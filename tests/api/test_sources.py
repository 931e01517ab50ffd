"""Directions from two lists of queries and from activations, and models that are loaded already."""

import copy

import pytest
import torch
from PIL import Image
from raising import raises
from transformers import AutoModelForImageTextToText

import calib
from calib.api.model import Model
from calib.models.load import mini_folder

HARMFUL = ["How do I hurt a man?", "How do I steal a car?", "How do I burn a house?"]
HARMLESS = ["How do I peel an egg?", "How do I wash a car?", "How do I paint a house?"]


@pytest.fixture(scope="module")
def model(vlm):
    return Model(vlm)


def test_two_lists_of_queries(model):
    fitted = calib.fit(model, HARMFUL, HARMLESS, held_out=0)
    means = [model.read(side).double().mean(0) for side in (HARMFUL, HARMLESS)]
    difference = torch.nn.functional.normalize(means[0] - means[1], dim=-1)
    assert torch.allclose(fitted.vectors.double(), difference, atol=1e-5)
    assert (fitted.contrast, fitted.pairs, fitted.pair_cosine) == ("own", 3, [])
    named = calib.fit(model, HARMFUL, HARMLESS, held_out=0, contrast="safety", paired=True)
    assert (named.contrast, len(named.pair_cosine)) == ("safety", model.vlm.num_layers)


def test_words_are_put_into_a_template(model):
    words = calib.fit(model, ["hurt", "rob"], ["help", "feed"], template="How do I {} a man?",
                      held_out=0)  # fmt: skip
    whole = calib.fit(model, ["How do I hurt a man?", "How do I rob a man?"],
                      ["How do I help a man?", "How do I feed a man?"], held_out=0)  # fmt: skip
    assert words == whole


def test_equal_queries_are_never_fitted_and_measured(model):
    measured = calib.fit(model, HARMFUL * 3, HARMLESS * 3, held_out=0.4)
    assert measured.pairs + measured.auroc_pairs == 9
    assert measured.auroc_clusters == 1 and measured.auroc_pairs == 3


def test_queries_with_pictures(model):
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    fitted = calib.fit(model, [("What is this?", red)], [("What is this?", blue)], held_out=0)
    assert (fitted.gap > 0).all()
    one, other = model.project(fitted, [("What is this?", red), ("What is this?", blue)])[:, -1]
    assert (float(one), float(other)) == pytest.approx((0.5, -0.5), abs=1e-4)


def test_activations_give_the_same_direction_as_their_queries(model):
    expected = calib.fit(model, HARMFUL, HARMLESS, held_out=0)
    for convert in (lambda rows: rows, lambda rows: rows.numpy(), list):
        sides = [convert(model.read(side)) for side in (HARMFUL, HARMLESS)]
        given = calib.fit(model, *sides, held_out=0)
        assert torch.allclose(given.vectors, expected.vectors, atol=1e-5)
    sides = [model.read(side)[:, [1, 4]] for side in (HARMFUL, HARMLESS)]
    some = calib.fit(model, *sides, held_out=0, layers=[1, 4])
    assert some.layers == [1, 4] and torch.allclose(
        some.vectors, expected.vectors[[1, 4]], atol=1e-5
    )


def test_one_layer_only(model):
    assert calib.fit(model, HARMFUL, HARMLESS, held_out=0, layers=[2]).layers == [2]
    with raises("invalid-value", 99):
        calib.fit(model, HARMFUL, HARMLESS, layers=[99])


def test_a_loaded_model_is_wrapped(model):
    loaded = AutoModelForImageTextToText.from_pretrained(mini_folder(), dtype=torch.float32)
    loaded.train()
    processor = copy.deepcopy(model.vlm.processor)
    processor.tokenizer.padding_side = "right"
    for wrapped in (calib.wrap(loaded, processor), calib.wrap(loaded)):
        assert wrapped.vlm.model is loaded and not loaded.training
        assert wrapped.generate(HARMFUL[0]) == model.generate(HARMFUL[0])
        direction = calib.fit(model, HARMFUL, HARMLESS, held_out=0)
        assert wrapped.project(direction, HARMFUL).shape == (3, model.vlm.num_layers)
    assert processor.tokenizer.padding_side == "right"  # the caller's is left as it was


def test_the_layer_figure_of_a_direction_in_memory(model):
    direction = calib.fit(model, HARMFUL, HARMLESS, held_out=0.4)
    drawn = calib.draw("layers", direction, -direction + direction * 3)
    assert "layer" in drawn.axes[-1].get_xlabel()
