"""One row on its way from a question to a response."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from calib.engine.edit import REACH, Edits
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
    base: Prompt | None = None
    """Another prompt whose unedited first token KL is measured against; None is its own."""
    generator: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    kl: float | None = None
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


def history(row: Row) -> torch.Tensor:
    """Prompt and response of a row so far. # [length] int64"""
    tokens = row.prompt.tokens
    return torch.cat([tokens, torch.tensor(row.tokens, dtype=tokens.dtype, device=tokens.device)])
