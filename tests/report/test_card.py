"""The card of a direction: whole, and inert whatever a header holds."""

import dataclasses

import pytest
import torch

from calib.directions.direction import Direction
from calib.report.card import direction_card

DIRECTION = Direction(
    vectors=torch.tensor([[1.0, 0.0]]),
    gap=torch.tensor([2.0]),
    midpoint=torch.tensor([0.5]),
    norm=torch.tensor([4.0]),
    layers=[3],
    checkpoint="some/model",
    revision=None,
    fingerprint="abc",
    strength=1.5,
    chosen_layer=3,
    positions="last_prompt",
)


def test_the_card_prints_the_whole_command() -> None:
    card = direction_card(DIRECTION, [], "direction.safetensors")
    assert (
        "    python -m calib.sweep method=steer method.direction=direction.safetensors "
        "method.layers=[3] method.positions=last_prompt method.strengths=[1.5]\n"
    ) in card
    assert "decoder block 3 (0-based)" in card
    several = dataclasses.replace(DIRECTION, layers=[1, 2], chosen_layer=None)
    assert "method.layers=[1,2] " in direction_card(several, [], "a b.safetensors")
    assert "'method.direction=a b.safetensors'" in direction_card(several, [], "a b.safetensors")


HOSTILE = "x](http://evil) ![p](q) *b* _i_ `c` # h | <img>\n# title\x1b[31m"


@pytest.mark.parametrize(
    "name",
    ["checkpoint", "revision", "fingerprint", "site", "operator", "estimator", "contrast",
     "read_positions", "positions", "unit", "pair_set"],
)  # fmt: skip
def test_no_field_of_the_header_leaves_its_cell(name) -> None:
    card = direction_card(dataclasses.replace(DIRECTION, **{name: HOSTILE}), [], "f.safetensors")
    plain = direction_card(DIRECTION, [], "f.safetensors")
    assert card.count("\n") == plain.count("\n")
    assert "\x1b" not in card
    rendered = "".join(line for line in card.splitlines() if not line.startswith("    "))
    assert r"x\]\(http://evil\) \!\[p\]\(q\) \*b\* \_i\_ \`c\` \# h \| &lt;img>" in rendered
    assert "](" not in rendered and "<img" not in rendered
