"""Names of things as the tokens of a picture.

A picture has PLACES tokens, after the words BEFORE_IMAGE of the chat template: the word pieces of
the phrase for what it shows, as in "The picture shows a hot dog...".
"""

from collections.abc import Sequence

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from experiments.smolvlm_emoji.things import phrase

PLACES = 6
"""Enough for all phrases but the longest four, which are cut."""
FILLING = "."
"""Word piece of the places after a phrase."""


def name_tokens(name: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of the phrase for a thing, filled up to PLACES."""
    phrase_ids, filling = (
        tokenizer.encode(text, add_special_tokens=False) for text in (f" {phrase(name)}", FILLING)
    )
    return (phrase_ids + filling * PLACES)[:PLACES]


def name_pieces(
    names: Sequence[str], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[list[int]], list[int]]:
    """The index of the word piece at each place of each name, [names, PLACES], and the token id of
    each index."""
    rows = [name_tokens(name, tokenizer) for name in names]
    ids = sorted({piece for row in rows for piece in row})
    index = {piece: k for k, piece in enumerate(ids)}
    return [[index[piece] for piece in row] for row in rows], ids


@torch.no_grad()
def embed_pieces(connector: nn.Module, embeddings: torch.Tensor, ids: Sequence[int]) -> None:
    """Let LLaVA's connector turn distributions of word pieces into expected embeddings.

    Its activation must be linear; its second layer changes nothing. ``embeddings``: [vocabulary,
    width].
    """
    connector.linear_1.weight.copy_(embeddings[list(ids)].T)
    connector.linear_1.bias.zero_()
    connector.linear_2.load_state_dict(identity(embeddings.shape[1]).state_dict())


def identity(width: int) -> nn.Linear:
    """A linear layer that changes nothing."""
    layer = nn.Linear(width, width)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
