"""A low-rank update of a language model (LoRA, arXiv 2106.09685), apart or added to the weights."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from calib.util.errors import CalibError

TARGETS = ("q_proj", "v_proj", "o_proj")
"""Projections of attention that are updated."""
RANK = 8
SCALE = 2.0
"""Factor of the update: alpha / rank."""


class Update(nn.Module):
    """A trained update of a linear layer, of low rank and zero at first."""

    def __init__(self, linear: nn.Linear, generator: torch.Generator) -> None:
        super().__init__()
        inputs, outputs = linear.in_features, linear.out_features
        self.down = nn.Parameter(torch.randn(RANK, inputs, generator=generator) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, RANK))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return SCALE * F.linear(F.linear(inputs, self.down), self.up)


class Updated(nn.Module):
    """A frozen linear layer plus its update."""

    def __init__(self, linear: nn.Linear, update: Update) -> None:
        super().__init__()
        self.linear, self.update = linear, update

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(inputs) + self.update(inputs)


def attach(language: nn.Module, seed: int) -> nn.ModuleDict:
    """Replace the target layers by updated ones; returns the updates, by name of the layer with
    slashes, because modules' names have no dots."""
    generator = torch.Generator().manual_seed(seed)
    updates: dict[str, nn.Module] = {}
    for name, linear in list(_targets(language)):
        parent, _, last = name.rpartition(".")
        updates[name.replace(".", "/")] = update = Update(linear, generator)
        setattr(language.get_submodule(parent), last, Updated(linear, update))
    return nn.ModuleDict(updates)


def tensors(updates: nn.ModuleDict) -> dict[str, torch.Tensor]:
    """The trained matrices, by names that merge() reads."""
    return {
        f"{name.replace('/', '.')}.{part}": getattr(update, part).detach()
        for name, update in updates.items()
        for part in ("down", "up")
    }


@torch.no_grad()
def merge(language: nn.Module, update: dict[str, torch.Tensor]) -> None:
    """Add an update to the weights of a language model.

    Raises CalibError (mismatch) if it is the update of another one.
    """
    shapes = {}
    for name, linear in _targets(language):
        shapes[f"{name}.down"] = (RANK, linear.in_features)
        shapes[f"{name}.up"] = (linear.out_features, RANK)
    if shapes != {name: tuple(tensor.shape) for name, tensor in update.items()}:
        raise CalibError(
            "mismatch",
            "the low-rank update is of another language model: build without guard=true.",
        )
    for name, linear in _targets(language):
        linear.weight += SCALE * update[f"{name}.up"] @ update[f"{name}.down"]


def _targets(language: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in language.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in TARGETS:
            yield name, module
