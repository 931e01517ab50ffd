"""Stages 2 to 4: teach the whole model to answer, in packed sequences.

One picture pays for many turns: a sequence is a prefix (system prompt, demonstrations, picture) and
several branches (query and answer). A block mask lets every branch see the prefix and itself only
and its positions continue the prefix's, so that each branch is exactly the single-turn prompt that
generation will see.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from experiments.mini_internvl.curriculum import (
    Lesson,
    alignment_lesson,
    mixture_lesson,
    polish_lesson,
)
from experiments.mini_internvl.scenes import pixels

LESSONS = {"alignment": alignment_lesson, "mixture": mixture_lesson, "polish": polish_lesson}


@dataclass(frozen=True)
class Batch:
    """Packed sequences, ready for the model."""

    tokens: torch.Tensor  # [rows, length] int64
    positions: torch.Tensor  # [rows, length] int64
    mask: torch.Tensor  # [rows, 1, length, length] bool: may attend
    labels: torch.Tensor  # [rows, length] int64, -100 where nothing is learned
    pixels: torch.Tensor  # [images, 3, SIZE, SIZE]
    tasks: list[tuple[int, int, str]]  # row, index of the last answer token, task


class LanguageTask:
    """Turns lessons into batches and batches into a loss."""

    def __init__(self, model: torch.nn.Module, processor) -> None:
        self.device = next(model.parameters()).device
        self.tokenizer = processor.tokenizer
        context = processor.image_token * processor.image_seq_length
        self.picture = f"{processor.start_image_token}{context}{processor.end_image_token}\n"
        self.pieces: dict[str, list[int]] = {}

    def batch_maker(self, stage: str) -> Callable[[np.random.Generator, int], Batch]:
        """The batch function of a stage: (rng, rows) -> Batch."""
        lesson = LESSONS[stage]

        def draw(rng: np.random.Generator, rows: int) -> Batch:
            return self.pack([lesson(rng) for _ in range(rows)])

        return draw

    def tokens(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template; pieces recur, so they are kept."""
        if text not in self.pieces:
            self.pieces[text] = self.tokenizer.encode(text, add_special_tokens=False)
        return self.pieces[text]

    def prefix(self, lesson: Lesson) -> tuple[list[int], list[Image.Image]]:
        """Tokens and pictures that all branches of a lesson share."""
        ids: list[int] = []
        images: list[Image.Image] = []
        if lesson.system:
            ids += self.tokens(f"<|im_start|>system\n{lesson.system}<|im_end|>\n")
        for shown in lesson.demonstrations:
            ids += self.user(shown.image, images)
            ids += self.tokens(f"{shown.query}<|im_end|>\n<|im_start|>assistant\n")
            ids += self.tokens(f"{shown.response}<|im_end|>\n")
        return ids + self.user(lesson.image, images), images

    def user(self, image: Image.Image | None, images: list[Image.Image]) -> list[int]:
        """The opening of a user turn; its picture joins ``images``."""
        if image is None:
            return self.tokens("<|im_start|>user\n")
        images.append(image)
        return self.tokens("<|im_start|>user\n" + self.picture)

    def pack(self, lessons: list[Lesson]) -> Batch:
        """Lay lessons out side by side, padded on the right."""
        rows, images, tasks = [], [], []
        for row, lesson in enumerate(lessons):
            prefix, shown = self.prefix(lesson)
            images += shown
            ids, positions = list(prefix), list(range(len(prefix)))
            segments, labels = [0] * len(prefix), [-100] * len(prefix)
            for number, branch in enumerate(lesson.branches, start=1):
                asked = self.tokens(f"{branch.query}<|im_end|>\n<|im_start|>assistant\n")
                answered = self.tokens(f"{branch.answer}<|im_end|>")
                both = asked + answered
                ids += both
                positions += range(len(prefix), len(prefix) + len(both))
                segments += [number] * len(both)
                labels += [-100] * len(asked) + answered
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
        """Mean cross-entropy over answer tokens, and the share of answers right in every token."""
        device = self.device
        images = {"pixel_values": batch.pixels.to(device)} if len(batch.pixels) else {}
        hidden = model.model(
            input_ids=batch.tokens.to(device),
            position_ids=batch.positions.to(device),
            attention_mask=batch.mask.to(device),
            use_cache=False,
            **images,
        ).last_hidden_state  # [rows, length, width]
        wanted = batch.labels[:, 1:].to(device)
        learned = wanted != -100
        logits = model.lm_head(hidden[:, :-1][learned])  # [answer tokens, vocabulary]
        loss = F.cross_entropy(logits, wanted[learned])
        right = torch.ones_like(wanted, dtype=torch.bool)
        right[learned] = logits.argmax(-1) == wanted[learned]
        return loss, self.accuracy(batch, right.cpu(), learned.cpu())

    def accuracy(
        self, batch: Batch, right: torch.Tensor, learned: torch.Tensor
    ) -> dict[str, float]:
        """Share of branches whose every answer token is predicted, by task."""
        hits: dict[str, list[bool]] = {}
        for row, last, task in batch.tasks:
            first = last - 1
            while first > 0 and learned[row, first - 1]:
                first -= 1
            hits.setdefault(task, []).append(bool(right[row, first:last].all()))
        return {task: float(np.mean(values)) for task, values in hits.items()}
