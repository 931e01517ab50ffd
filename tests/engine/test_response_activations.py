"""The residual stream of prompt and response: every token once, in the order of the tokens."""

import pytest
import torch
from naive_loop import unit_vector
from raising import raises
from tiny_families import examples, tiny

from calib.engine.activations import read_activations
from calib.engine.edits import Edit
from calib.engine.engine import generate
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request
from calib.engine.response_activations import read_response_activations
from calib.models.prompts import read_prompt


@pytest.mark.parametrize("family", ["internvl", "qwen2_5_vl", "paligemma", "mllama"])
def test_the_prompt_is_read_as_by_read_activations_and_every_token_once(family):
    vlm = tiny(family)
    example = next(e for e in examples(6) if e.picture)
    length = len(read_prompt(vlm, example).tokens)
    layers = [1, 3]
    vector = unit_vector(vlm.width, 1)
    for edits in ((), (Edit(3, Add(9 * vector)),)):
        request = Request(example, edits)
        tokens = generate(vlm, [request], Decoding(max_new_tokens=4))[0].tokens
        stream = read_response_activations(vlm, request, tokens, layers)
        assert stream.shape == (2, length + len(tokens) - 1, vlm.width)
        last = read_activations(vlm, [example], "last_prompt", layers=layers)[0]
        last[1] += 9 * vector * len(edits)
        assert torch.allclose(stream[:, length - 1], last, atol=1e-4)


def test_the_response_may_have_one_token():
    vlm = tiny("internvl")
    request = Request(next(e for e in examples(6) if not e.picture))
    stream = read_response_activations(vlm, request, [5], [0])
    assert stream.shape == (1, len(read_prompt(vlm, request.example).tokens), vlm.width)


def test_a_layer_that_the_model_skips_is_refused():
    vlm = tiny("mllama")
    request = Request(next(e for e in examples(6) if not e.picture))
    skipped = vlm.model.config.get_text_config().cross_attention_layers[0]
    with raises("unsupported", f"layer {skipped}"):
        read_response_activations(vlm, request, [5, 6], [0, skipped])
