"""What rows of one prompt can share in a model, found by looking at one pass through it."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from calib.engine.prefix_sharing import BATCH_AXES
from calib.engine.request import DecodingRow
from calib.models.layers import decoder_layers
from calib.models.load import VLM
from calib.models.prompt_batch import collate
from calib.models.prompts import Prompt


@dataclass
class Sharing:
    """How prompts of one kind can be read."""

    reason: str | None = None
    """Why their rows share nothing; None where they do."""
    whole: bool = False
    """Whether tokens of the prompt look ahead, so that it is read in a single pass."""
    first: int = 0
    """First layer after which rows can fork within the prompt: below, the model adds something to
    its residual stream between two blocks. With 0 they can also fork before any layer."""

    def covers(self, row: DecodingRow) -> bool:
        """Whether a row can share."""
        if self.reason is not None:
            return False
        if self.first == 0 or not row.forks_before_last():
            return True
        return min(edit.parts_at for edit in row.edits) > self.first


def sharing_of(vlm: VLM, prompt: Prompt) -> Sharing:
    """What rows of prompts like this one (with pictures, or without) can share."""
    config = vlm.model.config.get_text_config(decoder=True)
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    if kinds - {DynamicLayer, DynamicSlidingWindowLayer}:
        return Sharing("its blocks remember something other than keys and values")
    look = _Look(decoder_layers(vlm.model))
    with look.hooks():
        vlm.model.base_model(
            **collate(vlm, [prompt]).inputs,
            position_ids=_one_row(prompt.position_ids),
            use_cache=False,
        )
    skipped = sorted(set(range(len(look.layers))) - set(look.called))
    if skipped:
        named = ", ".join(map(str, skipped))
        return Sharing(f"its blocks {named} are left out for them, and edits there change nothing")
    if look.called != list(range(len(look.layers))):
        return Sharing("its blocks are not passed once each and in order")
    if look.unknown:
        return Sharing(f"its decoder blocks are given {', '.join(sorted(look.unknown))} by row")
    return Sharing(None, look.looks_ahead, look.first)


def _one_row(places: torch.Tensor) -> torch.Tensor:
    return places.unsqueeze(-2)


class _Look:
    """Watches the blocks of a decoder during one pass."""

    def __init__(self, layers: torch.nn.ModuleList) -> None:
        self.layers = layers
        self.called: list[int] = []
        self.unknown: set[str] = set()
        self.looks_ahead = False
        self.first = 0
        self._before: torch.Tensor | None = None

    def hooks(self) -> ExitStack:
        stack = ExitStack()
        for index, layer in enumerate(self.layers):
            hook = layer.register_forward_pre_hook(self._entered(index), with_kwargs=True)
            stack.callback(hook.remove)
            stack.callback(layer.register_forward_hook(self._left).remove)
        return stack

    def _entered(self, index: int) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> None:
            self.called.append(index)
            hidden = args[0] if args else kwargs.get("hidden_states")
            before = self._before
            if before is not None and hidden is not before and not torch.equal(hidden, before):
                self.first = index
            named = {name for name, value in kwargs.items() if _by_row(value)}
            self.unknown |= named - BATCH_AXES.keys() - {"hidden_states"}
            self.unknown |= {"a tensor without a name" for value in args[1:] if _by_row(value)}
            self.looks_ahead |= _looks_ahead(kwargs.get("attention_mask"))

        return hook

    def _left(self, module: Any, args: Any, output: Any) -> None:
        self._before = output if torch.is_tensor(output) else output[0]


def _by_row(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_by_row(part) for part in value)
    return torch.is_tensor(value) and value.dim() > 0


def _looks_ahead(mask: Any) -> bool:
    """Whether a token before the last one may attend to the last. # [rows, heads, from, to]"""
    if not torch.is_tensor(mask) or mask.dim() != 4 or mask.shape[-2] < 2:
        return False
    ahead = mask[..., :-1, -1]
    return bool(ahead.any() if ahead.dtype == torch.bool else (ahead > -1).any())
