"""Choose the next token of each row, and decide when its response has ended."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import LogitsProcessorList

from calib.engine.request import Decoding, DecodingRow, Response, token_history
from calib.models.load import VLM
from calib.models.tokens import PROMPT_END
from calib.util.thoughts import opened_thought, thought_tokens

LENGTH_PROCESSORS = ("Length", "Forced", "Decay", "SuppressTokensAtBegin")
"""Substrings of the names of logits processors that count a row's tokens, including padding."""

LEAST_TEMPERATURE = 1e-6
"""Scores are divided by this at least: at a smaller temperature, which means the most likely token
too, they would become infinite."""


class Sampler:
    """Greedy decoding or sampling, with the generation settings of the checkpoint."""

    def __init__(self, vlm: VLM, decoding: Decoding) -> None:
        self.sampled = decoding.temperature > 0
        self.arguments = _sampling_arguments(decoding)
        """Keyword arguments of transformers' ``generate``."""
        self.processors, self.end_tokens = _generation_settings(
            vlm, decoding.max_new_tokens, self.arguments
        )
        self.hidden_tokens = _hidden_tokens(vlm.processor.tokenizer)

    @property
    def length_processor(self) -> str | None:
        """Name of a logits processor that depends on the number of earlier tokens, if any."""
        names = [type(processor).__name__ for processor in self.processors]
        return next((n for n in names if any(part in n for part in LENGTH_PROCESSORS)), None)

    def choose(
        self, scores: torch.Tensor, generators: Sequence[torch.Generator | None]
    ) -> torch.Tensor:
        """The next token of each row; -1 if its scores are not finite.

        # [rows, vocabulary] float32 -> [rows] int64
        """
        if self.sampled:
            noise = torch.stack([_noise(scores.shape[-1], g) for g in generators]).to(scores)
            # argmax(p / Exp(1) noise) is a draw from p, here with independent noise for each row.
            best, tokens = (scores.softmax(-1) / noise).max(-1)
        else:
            best, tokens = scores.max(-1)
        return tokens.masked_fill(~best.isfinite(), -1)


def _hidden_tokens(tokenizer: Any) -> frozenset[int] | None:
    """Special tokens that are left out of responses, if others are tags of thoughts and stay; None
    if all special tokens are left out."""
    added = tokenizer.added_tokens_decoder
    special = {token: added[token].content for token in added if added[token].special}
    tags = thought_tokens(special.values())
    if not tags:
        return None
    return frozenset(token for token, text in special.items() if text not in tags)


def _noise(size: int, generator: torch.Generator | None) -> torch.Tensor:
    assert generator is not None, "a sampled row needs a generator"
    noise = torch.empty(size, device=generator.device)
    # Some builds of torch can draw 0, and the noise is a divisor.
    return noise.exponential_(generator=generator).clamp_(min=torch.finfo(noise.dtype).tiny)


def _sampling_arguments(decoding: Decoding) -> dict[str, Any]:
    """Keyword arguments of ``generate``; the checkpoint's own top-k and similar are disabled."""
    if decoding.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True, "temperature": max(decoding.temperature, LEAST_TEMPERATURE),
        "top_p": decoding.top_p,
        "top_k": 0, "min_p": None, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    }  # fmt: skip


def _generation_settings(
    vlm: VLM, max_new_tokens: int, arguments: dict[str, Any]
) -> tuple[LogitsProcessorList, frozenset[int]]:
    """Logits processors and end tokens that the model's own ``generate`` would use."""
    captured: dict[str, Any] = {}

    def capture(model: Any, input_ids: Any, logits_processor: Any = None, **rest: Any) -> Any:
        captured["processors"] = logits_processor
        captured["end_tokens"] = rest["generation_config"].eos_token_id
        return input_ids

    start = torch.tensor([[vlm.pad_token_id]], device=vlm.device)
    vlm.model.generate(
        input_ids=start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=max_new_tokens,
        num_beams=1,
        custom_generate=capture,
        **arguments,
    )
    end_tokens = captured["end_tokens"]
    if end_tokens is None:
        end_tokens = vlm.processor.tokenizer.eos_token_id
    listed = [end_tokens] if isinstance(end_tokens, int) else list(end_tokens or [])
    return captured["processors"], frozenset(int(token) for token in listed)


class Stopping:
    """Append tokens to rows and detect which rows have ended."""

    def __init__(
        self,
        vlm: VLM,
        sampler: Sampler,
        max_new_tokens: int,
        on_end: Callable[[], None] | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> None:
        """``on_end`` is called once for each row that ends, ``on_tokens`` with each number of
        tokens that were appended to rows."""
        self.vlm, self.sampler = vlm, sampler
        self.max_new_tokens = max_new_tokens
        self.on_end, self.on_tokens = on_end, on_tokens

    def scores(self, rows: Sequence[DecodingRow], logits: torch.Tensor) -> torch.Tensor:
        """Logits after the checkpoint's logits processors. # [rows, vocabulary] float32"""
        if not self.sampler.processors:
            return logits
        # Rows of one length at a time: processors would treat padding as earlier tokens.
        scores = logits.clone()
        lengths = [len(row.prompt.tokens) + len(row.tokens) for row in rows]
        for length in set(lengths):
            same_length = [k for k, other in enumerate(lengths) if other == length]
            history = torch.stack([token_history(rows[k]) for k in same_length])
            scores[same_length] = self.sampler.processors(history, logits[same_length])
        return scores

    def append_tokens(self, rows: Sequence[DecodingRow], scores: torch.Tensor) -> torch.Tensor:
        """Choose the next token of each row, append it to the row and return it.

        -1 stands for scores that are not finite. # [rows, vocabulary] float32 -> [rows] int64
        """
        tokens = self.sampler.choose(scores, [row.generator for row in rows])
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.tokens.append(token)
        if self.on_tokens is not None:
            self.on_tokens(len(rows))
        return tokens

    def has_ended(self, row: DecodingRow) -> bool:
        """Whether a row has ended; if so, sets ``row.finish``."""
        if row.tokens[-1] < 0:
            row.finish = "not_finite"
        elif row.tokens[-1] in self.sampler.end_tokens:
            row.finish = "stop"
        elif len(row.tokens) == self.max_new_tokens:
            row.finish = "length"
        elif row.is_final is not None and row.is_final(self._text(row, row.tokens)):
            row.finish = "cut"
        if row.finish is not None and self.on_end is not None:
            self.on_end()
        return row.finish is not None

    def response(self, row: DecodingRow) -> Response:
        """The response of a row that has ended."""
        assert row.finish is not None
        tokens = tuple(token for token in row.tokens if token >= 0)
        return Response(self._text(row, tokens), tokens, row.finish, row.kl, kl_base=row.kl_base)

    def _text(self, row: DecodingRow, tokens: Sequence[int]) -> str:
        if row.thought_tag is None:
            row.thought_tag = thought_tag(self.vlm, row.prompt.tokens.tolist())
        return response_text(self.vlm, tokens, row.thought_tag, self.sampler.hidden_tokens)


def thought_tag(vlm: VLM, prompt: Sequence[int]) -> str:
    """Opening tag of the thought that a prompt's tokens open; "" if they open none."""
    decode = vlm.processor.tokenizer.decode
    return opened_thought(decode(prompt[-PROMPT_END:], skip_special_tokens=False))


def response_text(
    vlm: VLM, tokens: Sequence[int], tag: str, hidden_tokens: frozenset[int] | None
) -> str:
    """The text of generated tokens after the tag of a thought that the prompt opened; without
    ``hidden_tokens``, or all special tokens for None."""
    decode = vlm.processor.tokenizer.decode
    if hidden_tokens is None:
        text = decode(tokens, skip_special_tokens=True)
    else:
        shown = [token for token in tokens if token not in hidden_tokens]
        text = decode(shown, skip_special_tokens=False)
    # Without the tag, nothing would show that the beginning of the response is a thought.
    return tag + text.strip()
