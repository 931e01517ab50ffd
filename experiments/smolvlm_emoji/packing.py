"""Stage 3: several questions about a picture in one sequence, through the frozen language model.

A sequence is a prefix (system prompt and picture) followed by branches (a question and its answer).
Each branch attends to the prefix and itself only, and its positions continue those of the prefix,
so that its hidden states equal those of a single question at generation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from experiments.smolvlm_emoji.alignment import Parts, Pictures
from experiments.smolvlm_emoji.sentences import Branch, Speaker
from experiments.smolvlm_emoji.text import END, IMAGE, SYSTEM

IGNORED = -100
TOKENS_PER_PICTURE = 49


@dataclass(frozen=True)
class Batch:
    """Packed sequences, right-padded."""

    tokens: torch.Tensor  # [rows, length] int64
    positions: torch.Tensor  # [rows, length] int64
    mask: torch.Tensor  # [rows, 1, length, length] bool: query may attend to key
    labels: torch.Tensor  # [rows, length] int64, IGNORED for tokens without loss
    grids: torch.Tensor | None  # [rows, channels, rows of the grid, columns]; None without pictures
    tasks: list[tuple[int, int, int, str]]  # row, first and last answer token, task


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

    def pack(self, sequences: list[list[Branch]], grids: torch.Tensor | None) -> Batch:
        """A batch: one picture per sequence, or none in all of them."""
        prefix = self.prefix(grids is not None)
        rows, tasks = [], []
        for row, branches in enumerate(sequences):
            ids, positions = list(prefix), list(range(len(prefix)))
            segments, labels = [0] * len(prefix), [IGNORED] * len(prefix)
            for number, branch in enumerate(branches, start=1):
                asked = self.encode(f"{branch.question}{END}\n<|im_start|>assistant\n")
                answer = self.encode(f"{branch.answer}{END}")
                tasks.append(
                    (row, len(ids) + len(asked), len(ids) + len(asked) + len(answer), branch.task)
                )
                ids += asked + answer
                positions += range(len(prefix), len(prefix) + len(asked) + len(answer))
                segments += [number] * (len(asked) + len(answer))
                labels += [IGNORED] * len(asked) + answer
            rows.append((ids, positions, segments, labels))
        length = max(len(ids) for ids, *_ in rows)

        def padded(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([r[column] + [fill] * (length - len(r[column])) for r in rows])

        segments = padded(2, -1)
        same = segments[:, :, None] == segments[:, None, :]
        mask = (same | (segments == 0)[:, None, :]).tril()[:, None]
        return Batch(padded(0, 0), padded(1, 0), mask, padded(3, IGNORED), grids, tasks)

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
        """Mean cross-entropy over answer tokens, and the share of correct answers by task."""
        labels = batch.labels[:, 1:]
        answered = labels != IGNORED
        logits = self.language.lm_head(self.hidden(parts, batch)[:, :-1][answered])
        loss = F.cross_entropy(logits, labels[answered])
        correct = torch.ones_like(labels, dtype=torch.bool)
        correct[answered] = logits.argmax(-1) == labels[answered]
        hits: dict[str, list[bool]] = {}
        for row, first, last, task in batch.tasks:
            hits.setdefault(task, []).append(bool(correct[row, first - 1 : last - 1].all()))
        return loss, {task: float(np.mean(values)) for task, values in hits.items()}


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
