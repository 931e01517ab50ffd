"""The naive way to respond to one row, as the reference that the engine is compared with.

Inputs come straight from the processor, with pixels; transformers' own ``generate`` runs one row;
each edited site has one plain forward hook. Formulas and positions are implemented here once more,
so that no code of the engine is involved.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from calib.data.example import Example
from calib.models.chat_template import conversation
from calib.models.layers import decoder_layers
from calib.models.load import VLM
from calib.models.prompt_batch import PromptToken


def unit_vector(width: int, seed: int) -> torch.Tensor:
    """A random vector of length 1. # [width]"""
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def inputs(vlm: VLM, example: Example) -> dict[str, Any]:
    """The processor's output for one prompt."""
    has_image = example.picture or any(turn.picture for turn in example.demonstrations)
    settings = {}
    if has_image and hasattr(vlm.processor.image_processor, "crop_to_patches"):
        settings["crop_to_patches"] = vlm.tiles
    prompt = vlm.processor.apply_chat_template(
        [conversation(example)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=settings,
    )
    prompt.pop("labels", None)  # PaliGemma's, for training
    return prompt


def position_mask(vlm: VLM, tokens: torch.Tensor, positions: str | PromptToken) -> torch.Tensor:
    """The prompt tokens that an edit at these positions changes. # [length] bool"""
    config = vlm.model.config
    image = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
    index = torch.arange(len(tokens))
    if isinstance(positions, PromptToken):
        return index == len(tokens) - positions.from_end
    return {
        "all": index >= 0,
        "prompt": index >= 0,
        "image": tokens == image,
        "text": tokens != image,
        "last_prompt": index == len(tokens) - 1,
        "response": index == len(tokens) - 1,
        "after_instruction": index >= len(tokens) - 1 - tail_length(vlm, tokens),
    }[positions]


def tail_length(vlm: VLM, tokens: torch.Tensor) -> int:
    """Number of tokens that the chat template of a test's model puts after the query."""
    for text in ("<|im_end|>\n<|im_start|>assistant\n", "[assistant] \n", "[assistant] "):
        tail = vlm.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokens[-len(tail) :].tolist() == tail:
            return len(tail)
    raise AssertionError(vlm.checkpoint)


def apply_operator(hidden: torch.Tensor, operator: Any) -> torch.Tensor:
    """The operator's formula for every token. # [..., width]"""
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
        ablated = hidden
        for row in operator.direction.reshape(-1, hidden.shape[-1]):  # orthonormal rows
            ablated = ablated - operator.strength * (hidden @ row)[..., None] * row
        return ablated
    if operator.name == "ablate_by_cosine":
        difference = hidden - operator.reference
        length = torch.sqrt((difference * difference).sum(-1))
        cosine = (difference @ operator.direction) / length
        share = operator.strength * cosine.clip(0, 1)[..., None]
        return hidden - share * norm * operator.direction
    if operator.name == "low_rank":
        moved = hidden
        offset, low, high = (
            torch.ones(len(operator.read)) * value
            for value in (operator.offset, operator.low, operator.high)
        )
        for k, (read, write) in enumerate(zip(operator.read, operator.write, strict=True)):
            size = (hidden @ read + offset[k]).clip(low[k], high[k])
            moved = moved + size[..., None] * write
        return moved
    if operator.name == "clamp":
        component = (hidden @ operator.direction)[..., None]
        clipped = component.clip(operator.low, operator.high)
        return hidden + (clipped - component) * operator.direction
    raise NotImplementedError(operator.name)


def hook_at_site(vlm: VLM, layer: int, site: str, change: Callable[[torch.Tensor], Any]) -> Any:
    """Replace the activations at a site by ``change`` of them, unless it returns None."""
    block = decoder_layers(vlm.model)[layer]
    if site == "heads":
        attention = block.self_attn if hasattr(block, "self_attn") else block.cross_attn
        output = attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj
        return output.register_forward_pre_hook(lambda module, args: change(args[0]))

    def hook(module: Any, args: Any, output: Any) -> Any:
        if torch.is_tensor(output):
            return change(output)
        new = change(output[0])
        return None if new is None else (new, *output[1:])

    mlp = block.mlp if hasattr(block, "mlp") else block.feed_forward
    return {"mlp": mlp, "residual": block}[site].register_forward_hook(hook)


@contextmanager
def editing(vlm: VLM, tokens: torch.Tensor, edits: Sequence[Any]) -> Iterator[None]:
    """Edit the row with the prompt ``tokens`` while the context is open. # [length]"""

    def edit_at(layer: int, site: str, hidden: torch.Tensor) -> torch.Tensor:
        for edit in edits:  # hidden: [1, length, width]
            if (edit.layer, edit.site) != (layer, site):
                continue
            if hidden.shape[1] == len(tokens):
                mask = position_mask(vlm, tokens, edit.positions)[:, None]
            else:
                assert hidden.shape[1] == 1
                mask = torch.tensor(edit.positions in ("all", "response", "after_instruction"))
            # In float32, as norms and projections would overflow in float16.
            wide = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
            edited = apply_operator(wide, edit.operator).to(hidden.dtype)
            hidden = torch.where(mask, edited, hidden)
        return hidden

    hooks = []
    for layer, site in sorted({(edit.layer, edit.site) for edit in edits}):
        hooks.append(hook_at_site(vlm, layer, site, functools.partial(edit_at, layer, site)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class NaiveResponse:
    """The naive loop's response to one row."""

    tokens: list[int]
    """Including the end token."""
    first_logits: torch.Tensor
    """Logits of the first token. # [vocabulary] float32"""


@torch.no_grad()
def naive(vlm: VLM, example: Example, edits: Sequence[Any], count: int) -> NaiveResponse:
    """Up to ``count`` greedy tokens of one row."""
    prompt = inputs(vlm, example)
    tokens = prompt["input_ids"][0]
    with editing(vlm, tokens, edits):
        output = vlm.model.generate(
            **prompt,
            max_new_tokens=count,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return NaiveResponse(output.sequences[0, len(tokens) :].tolist(), output.logits[0][0].float())


def divergence(edited: NaiveResponse, unedited: NaiveResponse) -> float:
    """KL(edited || unedited) of the first token, in nats."""
    p, q = (r.first_logits.double().log_softmax(-1) for r in (edited, unedited))
    return float((p.exp() * (p - q)).sum())
