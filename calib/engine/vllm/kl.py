"""KL of the first response token from the log-probabilities that vLLM returns."""

from dataclasses import dataclass

import torch

from calib.util.errors import CalibError

FLOOR = -9999.0
"""Least log-probability; it stands for minus infinity, too, which JSON does not have."""
ROUNDING = 4e-6
"""Probability that rounding in float32 may hide or invent in a sum of returned probabilities."""
WHOLE = 0.01
"""Probability that may be missing in the sum over the whole vocabulary."""


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
        return cls(ids.long()[order], values.clamp(min=FLOOR))

    @property
    def is_finite(self) -> bool:
        """Whether the model's output was finite."""
        return not bool(self.logprobs.isnan().any())

    def require_whole(self) -> None:
        """Raise CalibError (mismatch) unless these are log-probabilities of the whole
        vocabulary."""
        total = float(self.logprobs.exp().sum())
        if abs(total - 1) > WHOLE:
            raise CalibError(
                "mismatch",
                f"vLLM returned {len(self.ids):,} log-probabilities whose probabilities add up to "
                f"{total:.3g}, and not those of the whole vocabulary. Start the server with "
                "--max-logprobs -1, and with no proxy that shortens replies, or give "
                "engine.first_token=N.",
            )

    def dense(self, size: int = 0) -> torch.Tensor:
        """Log-probabilities of the whole vocabulary, of at least ``size`` tokens: FLOOR where none
        was returned; all are NaN if one is. # [vocabulary] float32"""
        size = max(size, int(self.ids.max()) + 1)
        if not self.is_finite:
            return torch.full((size,), torch.nan)
        return torch.full((size,), FLOOR).scatter(0, self.ids, self.logprobs.float())


def divergences(edited: FirstToken, reference: FirstToken, full: bool) -> tuple[float, float]:
    """KL(edited || reference) and KL(reference || edited) in nats, of finite log-probabilities.

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
    """Log-probabilities of the tokens that both sides have, and of all others together.

    The others have ROUNDING at least: less may be due to rounding alone, and a ratio to it could
    exceed the exact one, so that the result would be no lower bound.
    """
    in_a, in_b = torch.isin(a.ids, b.ids), torch.isin(b.ids, a.ids)
    parts = []
    for side, kept in ((a, in_a), (b, in_b)):
        probabilities = side.logprobs.exp()
        shared = probabilities[kept]
        unreturned = (1 - probabilities.sum()).clamp(min=ROUNDING)
        rest = probabilities[~kept].sum() + unreturned
        parts.append(torch.cat([shared, rest[None]]).log())
    return parts[0], parts[1]


def _divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p.exp() * (p - q)).sum().clamp(min=0.0))
