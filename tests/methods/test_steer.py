"""Steering against a literal transcription of its formula."""

import pytest
import torch

from calib.data.mini.examples import load
from calib.directions.direction import Direction
from calib.engine.decoding import Asked, Decoding
from calib.engine.generate import generate
from calib.errors import CalibError
from calib.methods.steer import steer_settings
from calib.vlm.layers import decoder_layers


@pytest.fixture
def direction(vlm):
    drawn = torch.randn(2, vlm.width, generator=torch.Generator().manual_seed(5))
    return Direction(
        vectors=drawn / drawn.norm(dim=-1, keepdim=True),
        gap=torch.tensor([3.0, 4.0]),
        norm=torch.ones(2),
        layers=[2, 4],
        checkpoint=vlm.checkpoint,
        revision=None,
        fingerprint=vlm.fingerprint,
    )


def test_the_grid(direction):
    settings = steer_settings(direction, [2, 4], [1, -1, 0, 1])
    assert [(s.method, s.layer, s.strength) for s in settings] == [
        ("steer", 2, -1.0), ("steer", 2, 0.0), ("steer", 2, 1.0),
        ("steer", 4, -1.0), ("steer", 4, 0.0), ("steer", 4, 1.0),
    ]  # fmt: skip
    assert settings[1].edits == ()
    with pytest.raises(CalibError, match="layer 3 is not in the direction"):
        steer_settings(direction, [3], [1])


def test_a_mixed_batch_equals_caas_formula_row_by_row(vlm, direction):
    """h <- h + strength * gap * unit vector, at every token, by a plain hook per setting."""
    examples = [e for e in load(["image_centric", "utility"], limit=4) if e.split == "test"][:4]
    settings = steer_settings(direction, [2, 4], [-1.5, 2.0])
    rows = [(example, setting) for example in examples for setting in settings]
    decoding = Decoding(max_new_tokens=12)
    together = generate(vlm, [Asked(e, s.edits) for e, s in rows], decoding)
    for (example, setting), response in zip(rows, together, strict=True):
        k = direction.layers.index(setting.layer)
        added = setting.strength * direction.gap[k] * direction.vectors[k]
        handle = decoder_layers(vlm.model)[setting.layer].register_forward_hook(
            lambda module, args, output, added=added: output + added
        )
        alone = generate(vlm, [Asked(example)], decoding)[0]
        handle.remove()
        assert (response.text, response.tokens) == (alone.text, alone.tokens)
