"""Chats as packed sequences: several questions about a picture, or without one, in one sequence.

A sequence is a prefix (system prompt and picture) followed by branches (a question and its answer).
A picture is given by the name of what it shows, whose tokens are those of a picture that the tower
names without doubt.
"""

from dataclasses import dataclass
from typing import Any

import torch

from experiments.packing import Packed, answer_loss, pack
from experiments.smolvlm_emoji.text import BEFORE_IMAGE, END, SYSTEM
from experiments.smolvlm_emoji.words import name_tokens


@dataclass(frozen=True)
class Branch:
    """A question and its answer; ``task`` names it in the log."""

    task: str
    question: str
    answer: str


Sequence = tuple[str | None, list[Branch]]
"""The name of what the picture shows, None without a picture, and questions."""


class Packer:
    """Makes batches of sequences, and computes their loss."""

    def __init__(self, language: Any, tokenizer: Any) -> None:
        """``language``: a LlamaForCausalLM."""
        self.language, self.tokenizer = language, tokenizer

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prefix(self, name: str | None) -> list[int]:
        """Tokens before the question."""
        start = f"<|im_start|>system\n{SYSTEM}{END}\n<|im_start|>user\n"
        if name is None:
            return self.encode(start)
        picture = name_tokens(name, self.tokenizer)
        return [*self.encode(start + BEFORE_IMAGE), *picture, *self.encode("\n")]

    def branch(self, branch: Branch) -> tuple[list[int], list[int], str]:
        """Tokens of a question and of its answer, and the task."""
        asked = self.encode(f"{branch.question}{END}\n<|im_start|>assistant\n")
        return asked, self.encode(f"{branch.answer}{END}"), branch.task

    def pack(self, sequences: list[Sequence]) -> Packed:
        """A batch."""
        return pack([(self.prefix(n), list(map(self.branch, own))) for n, own in sequences])

    def hidden(self, batch: Packed) -> torch.Tensor:
        """Last hidden states. # [rows, length, width]"""
        return self.language.model(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state

    def __call__(self, _: Any, batch: Packed) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of answers, and the share of correct answers by task."""
        return answer_loss(batch, self.hidden(batch), self.language.lm_head)
