"""Packed training sequences: a prefix with pictures, and branches (a query and its answer).

With a block mask each branch attends to the prefix and itself only, and its positions continue
those of the prefix, so that its hidden states equal those of the single-turn prompt at generation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

IGNORED = -100
"""Label of tokens without loss."""

Branch = tuple[list[int], list[int], str]
"""Tokens of a query and of its answer, and the task, its name in the log."""


@dataclass(frozen=True)
class Packed:
    """Packed sequences, right-padded."""

    tokens: torch.Tensor  # [rows, length] int64
    positions: torch.Tensor  # [rows, length] int64
    mask: torch.Tensor  # [rows, 1, length, length] bool: query may attend to key
    labels: torch.Tensor  # [rows, length] int64, IGNORED for tokens without loss
    tasks: list[tuple[int, int, int, str]]  # row, start and end of the answer, task


def pack(sequences: Sequence[tuple[list[int], Sequence[Branch]]]) -> Packed:
    """Pack sequences, each of the tokens of its prefix and its branches."""
    rows, tasks = [], []
    for row, (prefix, branches) in enumerate(sequences):
        ids, positions = list(prefix), list(range(len(prefix)))
        segments, labels = [0] * len(prefix), [IGNORED] * len(prefix)
        for number, (query, answer, task) in enumerate(branches, start=1):
            length = len(query) + len(answer)
            ids += query + answer
            positions += range(len(prefix), len(prefix) + length)
            segments += [number] * length
            labels += [IGNORED] * len(query) + answer
            tasks.append((row, len(ids) - len(answer), len(ids), task))
        rows.append((ids, positions, segments, labels))
    longest = max(len(ids) for ids, *_ in rows)

    def padded(column: int, fill: int) -> torch.Tensor:
        return torch.tensor([r[column] + [fill] * (longest - len(r[column])) for r in rows])

    segments = padded(2, -1)  # [rows, length]
    same = segments[:, :, None] == segments[:, None, :]
    mask = (same | (segments == 0)[:, None, :]).tril()
    return Packed(padded(0, 0), padded(1, 0), mask[:, None], padded(3, IGNORED), tasks)


def answer_loss(
    packed: Packed, hidden: torch.Tensor, head: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Mean cross-entropy over answer tokens, and the share of correct answers by task.

    ``hidden`` are last hidden states [rows, length, width], ``head`` maps them to logits.
    """
    labels = packed.labels[:, 1:].to(hidden.device)
    answered = labels != IGNORED
    logits = head(hidden[:, :-1][answered])  # [answer tokens, vocabulary]
    loss = F.cross_entropy(logits, labels[answered])
    correct = torch.ones_like(labels, dtype=torch.bool)
    correct[answered] = logits.argmax(-1) == labels[answered]
    return loss, accuracy(packed, correct.cpu())


def accuracy(packed: Packed, correct: torch.Tensor) -> dict[str, float]:
    """Share of branches with every answer token predicted correctly, by task.

    ``correct`` is [rows, length - 1]: whether the prediction of each next token is correct.
    """
    hits: dict[str, list[bool]] = {}
    for row, start, end, task in packed.tasks:
        hits.setdefault(task, []).append(bool(correct[row, start - 1 : end - 1].all()))
    return {task: float(np.mean(values)) for task, values in hits.items()}
