"""Stage 3: several questions about a picture in one sequence, through the frozen language model.

A sequence is a prefix (system prompt and picture) followed by branches (a question and its answer).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from experiments.packing import Packed, answer_loss, pack
from experiments.smolvlm_emoji.alignment import Parts, Pictures
from experiments.smolvlm_emoji.sentences import Branch, Speaker
from experiments.smolvlm_emoji.text import END, IMAGE, SYSTEM

TOKENS_PER_PICTURE = 49


@dataclass(frozen=True)
class Batch(Packed):
    """Packed sequences, and the grids of their pictures."""

    grids: torch.Tensor | None  # [rows, channels, rows of the grid, columns]; None without pictures


class Packer:
    """Makes batches of questions about pictures, and computes their loss."""

    def __init__(self, language: Any, tokenizer: Any) -> None:
        """``language``: the frozen LlamaForCausalLM."""
        self.language, self.tokenizer = language, tokenizer
        self.image = tokenizer.convert_tokens_to_ids(IMAGE)

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def prefix(self, has_picture: bool) -> list[int]:
        """Tokens before the question."""
        picture = f"{IMAGE * TOKENS_PER_PICTURE}\n" if has_picture else ""
        return self.encode(f"<|im_start|>system\n{SYSTEM}{END}\n<|im_start|>user\n{picture}")

    def branch(self, branch: Branch) -> tuple[list[int], list[int], str]:
        """Tokens of a question and of its answer, and the task."""
        asked = self.encode(f"{branch.question}{END}\n<|im_start|>assistant\n")
        return asked, self.encode(f"{branch.answer}{END}"), branch.task

    def pack(self, sequences: list[list[Branch]], grids: torch.Tensor | None) -> Batch:
        """A batch: one picture per sequence, or none in all of them."""
        prefix = self.prefix(grids is not None)
        rows = [(prefix, list(map(self.branch, branches))) for branches in sequences]
        return Batch(**vars(pack(rows)), grids=grids)

    def hidden(self, parts: Parts, batch: Batch) -> torch.Tensor:
        """Last hidden states. # [rows, length, width]"""
        embedded = self.language.get_input_embeddings()(batch.tokens)
        if batch.grids is not None:
            places = (batch.tokens == self.image)[..., None]
            embedded = embedded.masked_scatter(places, parts(batch.grids))
        return self.language.model(
            inputs_embeds=embedded,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
        ).last_hidden_state

    def __call__(self, parts: Parts, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of answers, and the share of correct answers by task."""
        return answer_loss(batch, self.hidden(parts, batch), self.language.lm_head)


class QuestionBatches:
    """Draws batches of stage 3: pictures, and questions about each."""

    def __init__(self, pictures: Pictures, speaker: Speaker, packer: Packer, count: int) -> None:
        self.pictures, self.speaker, self.packer, self.count = pictures, speaker, packer, count

    def __call__(self, rng: np.random.Generator, rows: int) -> Batch:
        """A batch of ``rows`` pictures with ``count`` questions each."""
        _, shown = self.pictures.draw(rng, rows)
        names = [self.pictures.names[label] for label in shown.labels.tolist()]
        sequences = [self.speaker.branches(name, self.count, rng) for name in names]
        return self.packer.pack(sequences, shown.grids)
