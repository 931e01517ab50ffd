"""KL of the first response token from the log-probabilities that vLLM returns."""

from dataclasses import dataclass

import torch

FLOOR = -9999.0
"""Log-probabilities at or below this stand for minus infinity, which JSON does not have."""


@dataclass(frozen=True)
class FirstToken:
    """Log-probabilities of the first response token."""

    ids: torch.Tensor
    """# [returned tokens] int64"""
    logprobs: torch.Tensor
    """# [returned tokens] float64"""

    @classmethod
    def of(cls, returned: tuple[torch.Tensor, torch.Tensor]) -> "FirstToken":
        ids, logprobs = returned
        # vLLM may list the chosen token twice, as the chosen and as one of the most likely.
        distinct = {int(token): k for k, token in enumerate(ids.tolist())}
        order = torch.tensor([distinct[token] for token in sorted(distinct)])
        values = logprobs.double()[order]
        return cls(ids.long()[order], values.masked_fill(values <= FLOOR, -torch.inf))

    @property
    def is_finite(self) -> bool:
        """Whether the model's output was finite."""
        return not bool(self.logprobs.isnan().any())

    def dense(self, size: int = 0) -> torch.Tensor:
        """Log-probabilities of the whole vocabulary, of at least ``size`` tokens; minus infinity
        where none was returned. # [vocabulary] float32"""
        size = max(size, int(self.ids.max()) + 1)
        return torch.full((size,), -torch.inf).scatter(0, self.ids, self.logprobs.float())


def divergences(edited: FirstToken, reference: FirstToken, full: bool) -> tuple[float, float]:
    """KL(edited || reference) and KL(reference || edited) in nats.

    Unless both have the ``full`` vocabulary, the tokens that only one side returned, and those that
    neither did, count as one: the result is then a lower bound of the KL, by the data processing
    inequality.
    """
    if full:
        size = int(max(edited.ids.max(), reference.ids.max())) + 1
        p, q = (side.dense(size).double().log_softmax(-1) for side in (edited, reference))
    else:
        p, q = _partitions(edited, reference)
    return _divergence(p, q), _divergence(q, p)


def _partitions(a: FirstToken, b: FirstToken) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the tokens that both sides have, and of all others together."""
    in_a, in_b = torch.isin(a.ids, b.ids), torch.isin(b.ids, a.ids)
    parts = []
    for side, kept in ((a, in_a), (b, in_b)):
        shared = side.logprobs[kept].exp()
        rest = (1 - shared.sum()).clamp(min=1e-12)
        parts.append(torch.cat([shared, rest[None]]).log())
    return parts[0], parts[1]


def _divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    # Where both probabilities are 0, the term is 0 x (-inf + inf).
    return float((p.exp() * (p - q)).nan_to_num(0.0).sum().clamp(min=0.0))
