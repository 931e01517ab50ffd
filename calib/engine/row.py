"""One row on its way from a question to a response."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from calib.engine.edit import REACH, Edits
from calib.vlm.load import VLM
from calib.vlm.prompts import Prompt


@dataclass
class Row:
    """What is asked, and what has been answered so far."""

    index: int
    """Where its response belongs."""
    prompt: Prompt
    edits: Edits
    seed: int | None = None
    """Where its draws start; None takes the likeliest token."""
    certain: Callable[[str], bool] | None = None
    """Whether a response that begins so needs no more tokens."""
    generator: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    kl: float = 0.0
    finish: str | None = None
    """None while it is on its way, then as in Response."""

    def restart(self) -> None:
        """Forget what was generated."""
        self.tokens, self.finish, self.generator = [], None, None
        if self.seed is not None:
            device = self.prompt.tokens.device
            self.generator = torch.Generator(device).manual_seed(self.seed)

    def forks_before_last(self) -> bool:
        """Whether an edit begins before the last token of the prompt."""
        return any(REACH[edit.positions][0] for edit in self.edits)


def histories(rows: Sequence[Row], vlm: VLM) -> torch.Tensor:
    """Prompt and response of each row so far, padded on the left. # [rows, length] int64"""
    said = [
        torch.cat([row.prompt.tokens, torch.tensor(row.tokens, device=row.prompt.tokens.device)])
        for row in rows
    ]
    length = max(map(len, said))
    padded = torch.full((len(said), length), vlm.pad_token, device=vlm.device)
    for row, tokens in zip(padded, said, strict=True):
        row[length - len(tokens) :] = tokens
    return padded
