"""The plain way to answer one row: what everything the engine does is compared with.

Inputs straight from the processor, pixels included; transformers' own generate over one row; one
plain forward hook per edited site. Every formula and every position is written out here again, so
that nothing of the engine takes part.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from calib.data.example import Example
from calib.models.layers import decoder_layers
from calib.models.load import VLM
from calib.models.prompts import conversation


def direction(width: int, seed: int) -> torch.Tensor:
    """A random vector of length 1. # [width]"""
    drawn = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm()


def inputs(vlm: VLM, example: Example) -> dict[str, Any]:
    """One prompt as the processor gives it."""
    pictured = example.picture or any(turn.picture for turn in example.demonstrations)
    settings = {}
    if pictured and hasattr(vlm.processor.image_processor, "crop_to_patches"):
        settings["crop_to_patches"] = vlm.tiles
    found = vlm.processor.apply_chat_template(
        [conversation(example)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=settings,
    )
    found.pop("labels", None)  # PaliGemma's, for training
    return found


def chosen(vlm: VLM, tokens: torch.Tensor, positions: str) -> torch.Tensor:
    """Which of a prompt's tokens an edit changes. # [length] bool"""
    config = vlm.model.config
    image = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
    places = torch.arange(len(tokens))
    return {
        "all": places >= 0,
        "prompt": places >= 0,
        "image": tokens == image,
        "text": tokens != image,
        "last_prompt": places == len(tokens) - 1,
        "response": places == len(tokens) - 1,
    }[positions]


def changed(hidden: torch.Tensor, operator: Any) -> torch.Tensor:
    """The operator's formula, for every token. # [..., width]"""
    if operator.name == "add":
        return hidden + operator.vector
    if operator.name == "add_keeping_norm":
        moved = hidden + operator.vector
        before, after = (torch.sqrt((h * h).sum(-1, keepdim=True)) for h in (hidden, moved))
        return moved * before / after
    norm = torch.sqrt((hidden * hidden).sum(-1, keepdim=True))
    if operator.name == "add_by_norm":
        return hidden + operator.strength * norm * operator.direction
    if operator.name == "add_by_norm_keeping_norm":
        moved = hidden / norm + operator.strength * operator.direction
        return norm * moved / torch.sqrt((moved * moved).sum(-1, keepdim=True))
    if operator.name == "ablate":
        found = hidden
        for along in operator.direction.reshape(-1, hidden.shape[-1]):  # orthonormal
            found = found - operator.strength * (hidden @ along)[..., None] * along
        return found
    if operator.name == "ablate_by_cosine":
        apart = hidden - operator.reference
        cosine = (apart @ operator.direction) / torch.sqrt((apart * apart).sum(-1))
        share = operator.strength * cosine.clip(0, 1)[..., None]
        return hidden - share * norm * operator.direction
    if operator.name == "low_rank":
        found = hidden
        offset, low, high = (
            torch.ones(len(operator.read)) * value
            for value in (operator.offset, operator.low, operator.high)
        )
        for k, (read, write) in enumerate(zip(operator.read, operator.write, strict=True)):
            size = (hidden @ read + offset[k]).clip(low[k], high[k])
            found = found + size[..., None] * write
        return found
    if operator.name == "clamp":
        along = (hidden @ operator.direction)[..., None]
        inside = along.clip(operator.low, operator.high)
        return hidden + (inside - along) * operator.direction
    raise NotImplementedError(operator.name)


def hooked(vlm: VLM, layer: int, site: str, change: Callable[[torch.Tensor], Any]) -> Any:
    """A plain hook that puts what ``change`` returns in place of the activations at a site."""
    block = decoder_layers(vlm.model)[layer]
    if site == "heads":
        attention = block.self_attn if hasattr(block, "self_attn") else block.cross_attn
        return attention.o_proj.register_forward_pre_hook(lambda module, args: change(args[0]))

    def hook(module: Any, args: Any, output: Any) -> Any:
        if torch.is_tensor(output):
            return change(output)
        new = change(output[0])
        return None if new is None else (new, *output[1:])

    return {"mlp": block.mlp, "residual": block}[site].register_forward_hook(hook)


@contextmanager
def edited(vlm: VLM, tokens: torch.Tensor, edits: Sequence[Any]) -> Iterator[None]:
    """While open, a row whose prompt is ``tokens`` is edited. # [length]"""

    def edit_at(layer: int, site: str, hidden: torch.Tensor) -> torch.Tensor:
        for edit in edits:  # hidden: [1, length, width]
            if (edit.layer, edit.site) != (layer, site):
                continue
            if hidden.shape[1] == len(tokens):
                where = chosen(vlm, tokens, edit.positions)[:, None]
            else:
                assert hidden.shape[1] == 1
                where = torch.tensor(edit.positions in ("all", "response"))
            hidden = torch.where(where, changed(hidden, edit.operator), hidden)
        return hidden

    hooks = []
    for layer, site in sorted({(edit.layer, edit.site) for edit in edits}):
        hooks.append(hooked(vlm, layer, site, functools.partial(edit_at, layer, site)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Answer:
    """What the naive loop says to one row."""

    tokens: list[int]
    """The end token included."""
    first: torch.Tensor  # [vocabulary] float32, the logits of the first token


@torch.no_grad()
def naive(vlm: VLM, example: Example, edits: Sequence[Any], count: int) -> Answer:
    """Up to ``count`` greedy tokens of one row."""
    given = inputs(vlm, example)
    prompt = given["input_ids"][0]
    with edited(vlm, prompt, edits):
        found = vlm.model.generate(
            **given,
            max_new_tokens=count,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return Answer(found.sequences[0, len(prompt) :].tolist(), found.logits[0][0].float())


def divergence(edited: Answer, unedited: Answer) -> float:
    """KL(edited || unedited) of the first token, in nats."""
    p, q = (answer.first.double().log_softmax(-1) for answer in (edited, unedited))
    return float((p.exp() * (p - q)).sum())
