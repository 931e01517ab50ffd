"""The plain way to answer one row: what everything the engine does is compared with.

Inputs straight from the processor, pixels included; transformers' own generate over one row; one
plain forward hook per edited layer. Every formula and every position is written out here again, so
that nothing of the engine takes part.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from calib.data.example import Example
from calib.vlm.layers import decoder_layers
from calib.vlm.load import VLM
from calib.vlm.prompts import conversation


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
    along = (hidden @ operator.direction)[..., None]
    if operator.name == "ablate":
        return hidden - operator.strength * along * operator.direction
    if operator.name == "clamp":
        inside = along.clip(operator.low, operator.high)
        return hidden + (inside - along) * operator.direction
    raise NotImplementedError(operator.name)


@contextmanager
def edited(vlm: VLM, tokens: torch.Tensor, edits: Sequence[Any]) -> Iterator[None]:
    """While open, a row whose prompt is ``tokens`` is edited. # [length]"""

    def hook_of(layer: int) -> Callable[..., Any]:
        def hook(module: Any, args: Any, output: Any) -> Any:
            hidden = output if torch.is_tensor(output) else output[0]  # [1, length, width]
            for edit in edits:
                if edit.layer != layer:
                    continue
                if hidden.shape[1] == len(tokens):
                    where = chosen(vlm, tokens, edit.positions)[:, None]
                else:
                    assert hidden.shape[1] == 1
                    where = torch.tensor(edit.positions in ("all", "response"))
                hidden = torch.where(where, changed(hidden, edit.operator), hidden)
            return hidden if torch.is_tensor(output) else (hidden, *output[1:])

        return hook

    layers = decoder_layers(vlm.model)
    hooks = [
        layers[index].register_forward_hook(hook_of(index))
        for index in sorted({edit.layer for edit in edits})
    ]
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
