"""Activations: the values of the residual stream, whatever the batch, and an error when broken."""

import dataclasses

import pytest
import torch

from calib.data.mini.examples import load
from calib.errors import CalibError
from calib.vlm.layers import decoder_layers
from calib.vlm.prompts import collate, read_prompt
from calib.vlm.reading import read_activations


@pytest.fixture(scope="module")
def examples(mixed_examples):
    return [example for example in mixed_examples if example.picture]


def by_recorder(vlm, example):
    """What transformers records, all layers but the last (whose record is after the norm)."""
    batch = collate(vlm, [read_prompt(vlm, example)])
    with torch.no_grad():
        states = vlm.model(**batch.inputs, output_hidden_states=True).hidden_states
    return torch.cat(states[1:-1]), batch  # [layers - 1, length, width]


def test_last_prompt_token_equals_the_recorder(vlm, examples):
    read = read_activations(vlm, examples, "last_prompt")
    assert read.shape == (len(examples), vlm.layers, vlm.width)
    for row, example in zip(read, examples, strict=True):
        states, _ = by_recorder(vlm, example)
        assert torch.allclose(row[:-1], states[:, -1], atol=1e-4)


@pytest.mark.parametrize("positions", ["prompt", "image", "text"])
def test_means_over_positions(vlm, examples, positions):
    read = read_activations(vlm, examples[:2], positions)
    for row, example in zip(read, examples, strict=False):
        states, batch = by_recorder(vlm, example)
        image = batch.image[0]
        chosen = {"prompt": torch.ones_like(image), "image": image, "text": ~image}[positions]
        assert torch.allclose(row[:-1], states[:, chosen].mean(1), atol=1e-4)


def test_batch_size_does_not_matter(vlm, mixed_examples):
    together = read_activations(vlm, mixed_examples, batch_rows=len(mixed_examples))
    alone = read_activations(vlm, mixed_examples, batch_rows=1)
    assert torch.allclose(together, alone, atol=1e-4)


def test_no_hook_is_left(vlm, examples):
    before = [len(layer._forward_hooks) for layer in decoder_layers(vlm.model)]
    read_activations(vlm, examples[:1])
    assert [len(layer._forward_hooks) for layer in decoder_layers(vlm.model)] == before


def test_positions_that_are_not_there(vlm):
    plain = next(e for e in load(["text_centric"], limit=200) if e.picture is None)
    with pytest.raises(CalibError, match=r"text_centric.* has no image tokens"):
        read_activations(vlm, [plain], "image")


def test_activations_that_are_not_finite(vlm, examples):
    def poison(module, args, output):
        return output * float("nan")

    handle = decoder_layers(vlm.model)[1].register_forward_hook(poison, prepend=True)
    try:
        with pytest.raises(CalibError, match=r"not finite at layer 1 .*model\.dtype=float32"):
            read_activations(vlm, examples[:2])
    finally:
        handle.remove()


def test_a_prompt_longer_than_the_context(vlm, examples):
    long = dataclasses.replace(examples[0], query="why " * 1100)
    with pytest.raises(CalibError, match=r"reads at most 1024"):
        read_prompt(vlm, long)
