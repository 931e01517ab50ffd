"""Chats as packed sequences: several questions about a picture, or without one, in one sequence.

A sequence is a prefix (system prompt and picture) followed by branches (a question and its answer).
A picture is given by the name of what it shows, whose tokens are those of a picture that the tower
names without doubt.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from experiments.packing import Packed, answer_loss, pack
from experiments.smolvlm_emoji.text import BEFORE_IMAGE, END, SYSTEM
from experiments.smolvlm_emoji.words import PLACES, name_tokens

START = f"<|im_start|>system\n{SYSTEM}{END}\n<|im_start|>user\n"
"""The chat template up to the content of the first message."""


@dataclass(frozen=True)
class Branch:
    """A question and its answer; ``task`` names it in the log."""

    task: str
    question: str
    answer: str


Chat = tuple[str | None, list[Branch]]
"""The name of what the picture shows, None without a picture, and questions."""


@dataclass(frozen=True)
class Batch(Packed):
    """Packed sequences, and which of their tokens are a picture's."""

    pictures: torch.Tensor  # [rows, length] bool


class Packer:
    """Makes batches of sequences, and computes their loss."""

    def __init__(self, language: Any, tokenizer: Any, connector: nn.Module | None = None) -> None:
        """``language``: a LlamaForCausalLM; ``connector``: the connector's second layer, through
        which the embeddings of pictures pass; without one they stay as they are."""
        self.language, self.tokenizer = language, tokenizer
        self.connector = connector or nn.Identity()

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prefix(self, name: str | None) -> list[int]:
        """Tokens before the question."""
        if name is None:
            return self.encode(START)
        picture = name_tokens(name, self.tokenizer)
        return [*self.encode(START + BEFORE_IMAGE), *picture, *self.encode("\n")]

    def branch(self, branch: Branch) -> tuple[list[int], list[int], str]:
        """Tokens of a question and of its answer, and the task."""
        asked = self.encode(f"{branch.question}{END}\n<|im_start|>assistant\n")
        return asked, self.encode(f"{branch.answer}{END}"), branch.task

    def pack(self, sequences: list[Chat]) -> Batch:
        """A batch."""
        packed = pack([(self.prefix(n), list(map(self.branch, own))) for n, own in sequences])
        pictures = torch.zeros_like(packed.tokens, dtype=torch.bool)
        first = len(self.encode(START + BEFORE_IMAGE))
        for row, (name, _) in enumerate(sequences):
            pictures[row, first : first + PLACES] = name is not None
        return Batch(**vars(packed), pictures=pictures)

    def embedded(self, tokens: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """Embeddings of tokens, through the connector where they are a picture's."""
        words = self.language.get_input_embeddings()(tokens)
        return torch.where(pictures[..., None], self.connector(words), words)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Last hidden states. # [rows, length, width]"""
        return self.language.model(
            inputs_embeds=self.embedded(batch.tokens, batch.pictures),
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state

    def __call__(self, _: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of answers, and the share of correct answers by task."""
        return answer_loss(batch, self.hidden(batch), self.language.lm_head)
