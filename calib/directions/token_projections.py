"""Projections of every token of a prompt and its response on a direction at one layer.

They show where in a prompt the model represents what the direction separates. The unit is that of
strength (calib.directions.projections): for the train examples, the class means are at -0.5 and
0.5 at the positions that the direction was read at; other positions have no such scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from calib.directions.direction import Direction
from calib.directions.projections import project
from calib.engine.request import Request
from calib.engine.response_activations import read_response_activations
from calib.models.load import VLM
from calib.models.picture_grid import picture_grid
from calib.models.prompts import read_prompt

DECIMALS = 4
"""Decimals of a projection."""


@dataclass(frozen=True)
class TokenProjections:
    """The tokens that the model reads while it responds, and their projections, in order.

    The last token of a response is never read by the model, so it has none.
    """

    layer: int
    tokens: list[str]
    """Each token decoded alone; a token that is a part of a character has a replacement
    character."""
    values: list[float]
    """Projections after all edits, in the unit of strength."""
    prompt_tokens: int
    """Number of tokens of the prompt; the others are those of the response."""
    pictures: list[tuple[int, int]]
    """First index, and index after the last one, of each run of picture tokens."""
    grid: tuple[int, int] | None
    """Rows and columns of the picture tokens over the only picture; None if they are unknown."""


def read_token_projections(
    vlm: VLM, direction: Direction, layer: int, request: Request, response: Sequence[int]
) -> TokenProjections:
    """Read the prompt and the response of a request again, and project every token.

    Raises CalibError if the direction lacks the layer, and if the model skips it.
    """
    at_layer = direction.select_layers([layer])
    stream = read_response_activations(vlm, request, response, [layer])  # [1, tokens, width]
    values = project(at_layer, stream[0].unsqueeze(1))[:, 0]
    prompt = read_prompt(vlm, request.example)
    ids = [*prompt.tokens.tolist(), *response[:-1]]
    mask = prompt.image_mask
    edges = torch.diff(mask.int().cpu(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero()
    bounds = edges.flatten().tolist()
    return TokenProjections(
        layer,
        [vlm.processor.tokenizer.decode([token]) for token in ids],
        [round(value, DECIMALS) for value in values.tolist()],
        len(prompt.tokens),
        list(zip(bounds[::2], bounds[1::2], strict=True)),
        picture_grid(vlm, request.example, prompt),
    )
