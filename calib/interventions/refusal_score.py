"""The refusal score: log odds that a response begins like a refusal (arXiv 2406.11717)."""

from collections.abc import Sequence

import torch

from calib.engine.reading import Reader
from calib.interventions.contrasts import ContrastSides
from calib.util.errors import CalibError

_EPSILON = 1e-8


def refusal_tokens(reader: Reader, sides: ContrastSides) -> list[int]:
    """Tokens that begin refusals rather than answers: more often the likeliest first token of
    refused than of answered queries.

    Raises CalibError (too-few) if there are none.
    """
    shares = []
    for side in (sides.positive, sides.negative):
        first = reader.first_token_logits(side, [()])[0].argmax(-1)
        shares.append(torch.bincount(first, minlength=int(first.max()) + 1).float() / len(first))
    refused, answered = torch.nn.utils.rnn.pad_sequence(shares, batch_first=True)
    tokens = (refused > answered).nonzero()[:, 0].tolist()
    if not tokens:
        raise CalibError(
            "too-few",
            "no token begins refusals more often than answers, so method.selection=published has "
            "no refusal score. Give method.selection=grid.",
        )
    return tokens


def refusal_scores(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """Log odds that the first token is one of ``tokens``. # [..., vocabulary] -> [...] float64"""
    refusal = logits.double().softmax(-1)[..., list(tokens)].sum(-1)
    return torch.log(refusal + _EPSILON) - torch.log(1 - refusal + _EPSILON)
