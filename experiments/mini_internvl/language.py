"""Stages 2 to 4: train the whole model to answer, on packed sequences.

Several queries share a pass through the vision tower: a sequence is a prefix (system prompt,
demonstrations, picture) followed by branches (a query and its answer). With a block mask each
branch attends to the prefix and itself only, and its positions continue those of the prefix, so
that its hidden states equal those of the single-turn prompt at generation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from experiments.mini_internvl.curriculum import (
    PackedSequence,
    alignment_sequence,
    mixture_sequence,
    polish_sequence,
)
from experiments.mini_internvl.scenes import pixels

SEQUENCES = {
    "alignment": alignment_sequence,
    "mixture": mixture_sequence,
    "polish": polish_sequence,
}


@dataclass(frozen=True)
class Batch:
    """Packed sequences, ready for the model."""

    tokens: torch.Tensor  # [rows, length] int64
    positions: torch.Tensor  # [rows, length] int64
    mask: torch.Tensor  # [rows, 1, length, length] bool: query may attend to key
    labels: torch.Tensor  # [rows, length] int64, -100 for tokens without loss
    pixels: torch.Tensor  # [images, 3, SIZE, SIZE]
    tasks: list[tuple[int, int, str]]  # row, index of the last answer token, task


class LanguageTask:
    """Packs sequences into batches and computes their loss."""

    def __init__(self, model: torch.nn.Module, processor) -> None:
        self.device = next(model.parameters()).device
        self.tokenizer = processor.tokenizer
        context = processor.image_token * processor.image_seq_length
        self.picture = f"{processor.start_image_token}{context}{processor.end_image_token}\n"
        self._cache: dict[str, list[int]] = {}

    def batch_maker(self, stage: str) -> Callable[[np.random.Generator, int], Batch]:
        """The batch function of a stage: (rng, rows) -> Batch."""
        draw_sequence = SEQUENCES[stage]

        def draw(rng: np.random.Generator, rows: int) -> Batch:
            return self.pack([draw_sequence(rng) for _ in range(rows)])

        return draw

    def tokens(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template, cached because pieces recur."""
        if text not in self._cache:
            self._cache[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self._cache[text]

    def prefix(self, sequence: PackedSequence) -> tuple[list[int], list[Image.Image]]:
        """Tokens and pictures shared by all branches of a sequence."""
        ids: list[int] = []
        images: list[Image.Image] = []
        if sequence.system:
            ids += self.tokens(f"<|im_start|>system\n{sequence.system}<|im_end|>\n")
        for turn in sequence.demonstrations:
            ids += self.user(turn.image, images)
            ids += self.tokens(f"{turn.query}<|im_end|>\n<|im_start|>assistant\n")
            ids += self.tokens(f"{turn.response}<|im_end|>\n")
        return ids + self.user(sequence.image, images), images

    def user(self, image: Image.Image | None, images: list[Image.Image]) -> list[int]:
        """Tokens that open a user turn; its picture is appended to ``images``."""
        if image is None:
            return self.tokens("<|im_start|>user\n")
        images.append(image)
        return self.tokens("<|im_start|>user\n" + self.picture)

    def pack(self, sequences: list[PackedSequence]) -> Batch:
        """A batch of sequences, right-padded."""
        rows, images, tasks = [], [], []
        for row, sequence in enumerate(sequences):
            prefix, prefix_images = self.prefix(sequence)
            images += prefix_images
            ids, positions = list(prefix), list(range(len(prefix)))
            segments, labels = [0] * len(prefix), [-100] * len(prefix)
            for number, branch in enumerate(sequence.branches, start=1):
                query = self.tokens(f"{branch.query}<|im_end|>\n<|im_start|>assistant\n")
                answer = self.tokens(f"{branch.answer}<|im_end|>")
                ids += query + answer
                length = len(query) + len(answer)
                positions += range(len(prefix), len(prefix) + length)
                segments += [number] * length
                labels += [-100] * len(query) + answer
                tasks.append((row, len(ids) - 1, branch.task))
            rows.append((ids, positions, segments, labels))
        length = max(len(ids) for ids, *_ in rows)

        def padded(column: int, fill: int) -> torch.Tensor:
            return torch.tensor([r[column] + [fill] * (length - len(r[column])) for r in rows])

        segments = padded(2, -1)  # [rows, length]
        same = segments[:, :, None] == segments[:, None, :]
        mask = (same | (segments == 0)[:, None, :]).tril()
        stacked = torch.from_numpy(pixels(images)) if images else torch.empty(0)
        return Batch(padded(0, 0), padded(1, 0), mask[:, None], padded(3, -100), stacked, tasks)

    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        """Mean cross-entropy over answer tokens, and the share of fully correct answers by task."""
        device = self.device
        images = {"pixel_values": batch.pixels.to(device)} if len(batch.pixels) else {}
        hidden = model.model(
            input_ids=batch.tokens.to(device),
            position_ids=batch.positions.to(device),
            attention_mask=batch.mask.to(device),
            use_cache=False,
            **images,
        ).last_hidden_state  # [rows, length, width]
        labels = batch.labels[:, 1:].to(device)
        has_loss = labels != -100
        logits = model.lm_head(hidden[:, :-1][has_loss])  # [answer tokens, vocabulary]
        loss = F.cross_entropy(logits, labels[has_loss])
        correct = torch.ones_like(labels, dtype=torch.bool)
        correct[has_loss] = logits.argmax(-1) == labels[has_loss]
        return loss, self.accuracy(batch, correct.cpu(), has_loss.cpu())

    def accuracy(
        self, batch: Batch, correct: torch.Tensor, has_loss: torch.Tensor
    ) -> dict[str, float]:
        """Share of branches with every answer token predicted correctly, by task."""
        hits: dict[str, list[bool]] = {}
        for row, last, task in batch.tasks:
            first = last - 1
            while first > 0 and has_loss[row, first - 1]:
                first -= 1
            hits.setdefault(task, []).append(bool(correct[row, first:last].all()))
        return {task: float(np.mean(values)) for task, values in hits.items()}
