"""Choose the next token of each row, and decide when its response has ended."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList

from calib.engine.request import Decoding, DecodingRow, Response, token_history
from calib.models.load import VLM

BY_LENGTH = ("Length", "Forced", "Decay", "SuppressTokensAtBegin")
"""Parts of the names of processors that count a row's tokens, padding included."""


class Sampler:
    """How tokens are chosen: the model's own generation settings, greedy or by sampling."""

    def __init__(self, vlm: VLM, decoding: Decoding) -> None:
        self.sampled = decoding.temperature > 0
        self.sampling = _sampling(decoding)
        self.processors, self.ends = _settings(vlm, decoding.max_new_tokens, self.sampling)

    @property
    def counts_length(self) -> str | None:
        """A processor that depends on how many tokens stand before, padding included, if any."""
        names = [type(processor).__name__ for processor in self.processors]
        return next((n for n in names if any(part in n for part in BY_LENGTH)), None)

    def choose(
        self, scores: torch.Tensor, generators: Sequence[torch.Generator | None]
    ) -> torch.Tensor:
        """One token per row; -1 where the scores are not finite. # [rows] int64"""
        if self.sampled:
            noise = torch.stack([_noise(scores.shape[-1], one) for one in generators]).to(scores)
            # The largest of p / Exp(1) draws from p: each row by noise of its own.
            best, chosen = (scores.softmax(-1) / noise).max(-1)
        else:
            best, chosen = scores.max(-1)
        return chosen.masked_fill(best.isnan(), -1)


def _noise(size: int, generator: torch.Generator | None) -> torch.Tensor:
    assert generator is not None, "rows that are sampled have a generator each"
    drawn = torch.empty(size, device=generator.device)
    # Some builds can draw 0, by which nothing can be divided.
    return drawn.exponential_(generator=generator).clamp_(min=torch.finfo(drawn.dtype).tiny)


def _sampling(decoding: Decoding) -> dict[str, Any]:
    """Arguments of generate. What the checkpoint suggests for sampling (top-k and others) is not
    added to what the configuration asks for."""
    if decoding.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p,
        "top_k": 0, "min_p": None, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    }  # fmt: skip


def _settings(
    vlm: VLM, max_new_tokens: int, sampling: dict[str, Any]
) -> tuple[LogitsProcessorList, frozenset[int]]:
    """Logits processors and end tokens, as the model's own generate would have them."""
    found: dict[str, Any] = {}

    def look(model: Any, input_ids: Any, logits_processor: Any = None, **rest: Any) -> Any:
        found["processors"] = logits_processor
        found["ends"] = rest["generation_config"].eos_token_id
        return input_ids

    start = torch.tensor([[vlm.pad_token_id]], device=vlm.device)
    vlm.model.generate(
        input_ids=start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=max_new_tokens,
        num_beams=1,
        custom_generate=look,
        **sampling,
    )
    ends = found["ends"]
    if ends is None:
        ends = vlm.processor.tokenizer.eos_token_id
    given = [ends] if isinstance(ends, int) else list(ends or [])
    return found["processors"], frozenset(int(end) for end in given)


class Stopping:
    """Writes tokens to rows and tells which of them have ended."""

    def __init__(
        self,
        vlm: VLM,
        chooser: Sampler,
        max_new_tokens: int,
        landed: Callable[[], None] | None = None,
    ) -> None:
        """``landed`` is called for every row that has ended."""
        self.vlm, self.chooser = vlm, chooser
        self.max_new_tokens, self.landed = max_new_tokens, landed

    def scores(self, rows: Sequence[DecodingRow], logits: torch.Tensor) -> torch.Tensor:
        """Logits as the checkpoint's generation settings change them. # [rows, vocabulary]"""
        if not self.chooser.processors:
            return logits
        # Rows of one length at a time: padding would count as something that was said.
        scores = logits.clone()
        lengths = [len(row.prompt.tokens) + len(row.tokens) for row in rows]
        for length in set(lengths):
            alike = [k for k, other in enumerate(lengths) if other == length]
            said = torch.stack([token_history(rows[k]) for k in alike])
            scores[alike] = self.chooser.processors(said, logits[alike])
        return scores

    def write(self, rows: Sequence[DecodingRow], scores: torch.Tensor) -> torch.Tensor:
        """Choose and write the next token of each row. # [rows, vocabulary] float32

        Returns the tokens; -1 where the scores are not finite. # [rows] int64
        """
        chosen = self.chooser.choose(scores, [row.generator for row in rows])
        for row, token in zip(rows, chosen.tolist(), strict=True):
            row.tokens.append(token)
        return chosen

    def ended(self, row: DecodingRow) -> bool:
        """Whether a row has said its last token; notes how it ended."""
        if row.tokens[-1] < 0:
            row.finish = "not_finite"
        elif row.tokens[-1] in self.chooser.ends:
            row.finish = "stop"
        elif len(row.tokens) == self.max_new_tokens:
            row.finish = "length"
        elif row.is_final is not None and row.is_final(self._text(row.tokens)):
            row.finish = "cut"
        if row.finish is not None and self.landed is not None:
            self.landed()
        return row.finish is not None

    def response(self, row: DecodingRow) -> Response:
        """What a row that has ended answered."""
        assert row.finish is not None
        tokens = tuple(token for token in row.tokens if token >= 0)
        return Response(self._text(tokens), tokens, row.finish, row.kl)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.vlm.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
