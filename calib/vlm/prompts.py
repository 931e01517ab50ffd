"""From an example to what a model reads: chat template, image features, token positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from calib.data.example import Example
from calib.errors import CalibError
from calib.vlm.load import VLM

Positions = Literal["all", "prompt", "image", "text", "last_prompt", "response"]

FROM_THE_RESPONSE: tuple[Positions, ...] = ("last_prompt", "response")
"""Choices that leave everything before the last prompt token as it is."""


@dataclass(frozen=True)
class Prompt:
    """One example as the model reads it, kept on the model's device."""

    tokens: torch.Tensor  # [length] int64
    visual: dict[str, torch.Tensor]
    """What else the forward pass wants (features or pixels), first axis = images or tiles."""
    encoded: bool
    """Whether ``visual`` holds the vision tower's output instead of pixels."""
    per_token: dict[str, torch.Tensor]
    """Further inputs with a value per token, such as token types. # [length]"""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts side by side, padded on the left."""

    tokens: torch.Tensor  # [rows, length] int64
    mask: torch.Tensor  # [rows, length] int64, 1 where a token stands
    image: torch.Tensor  # [rows, length] bool
    inputs: dict[str, Any]
    """Keyword arguments for the model or for generate."""


def conversation(example: Example) -> list[dict[str, Any]]:
    """The example in the chat format of transformers' processors."""
    turns: list[dict[str, Any]] = []
    if example.system:
        turns.append({"role": "system", "content": [{"type": "text", "text": example.system}]})
    for shown in example.demonstrations:
        picture = shown.picture() if shown.picture else None
        turns.append(_user(shown.query, picture))
        answered = [{"type": "text", "text": shown.response}]
        turns.append({"role": "assistant", "content": answered})
    turns.append(_user(example.query, example.picture() if example.picture else None))
    return turns


def _user(query: str, image: Any) -> dict[str, Any]:
    picture = [] if image is None else [{"type": "image", "image": image}]
    return {"role": "user", "content": [*picture, {"type": "text", "text": query}]}


@torch.no_grad()
def read_prompt(vlm: VLM, example: Example) -> Prompt:
    """Tokenise one example and pass its pictures through the vision tower.

    One prompt at a time, so that its features do not depend on its neighbours in a batch: rows are
    then repeatable to the bit whatever else a run contains.

    Raises CalibError when the prompt is longer than the model's context.
    """
    pictures = any(t.picture for t in example.demonstrations) or example.picture is not None
    settings: dict[str, Any] = {}
    if pictures and hasattr(vlm.processor.image_processor, "crop_to_patches"):
        settings["crop_to_patches"] = vlm.tiles
    features = vlm.processor.apply_chat_template(
        [conversation(example)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=settings,
    )
    tokens = features.pop("input_ids")[0].to(vlm.device)
    features.pop("attention_mask", None)
    longest = vlm.model.config.get_text_config(decoder=True).max_position_embeddings
    if len(tokens) >= longest:
        raise CalibError(
            f"example '{example.id}' is {len(tokens)} tokens long; {vlm.checkpoint} reads at most "
            f"{longest}. Shorten the query or leave the example out."
        )
    found = {key: value.to(vlm.device) for key, value in features.items()}
    per_token = {k: v[0] for k, v in found.items() if tuple(v.shape) == (1, len(tokens))}
    visual = {key: value for key, value in found.items() if key not in per_token}
    pixels = visual.get("pixel_values")
    if pixels is not None and set(visual) == {"pixel_values"}:
        pooled = vlm.model.get_image_features(pixels, return_dict=True).pooler_output
        if isinstance(pooled, torch.Tensor) and vlm.model._supports_mm_encoder_outputs():
            return Prompt(tokens, {"features": pooled}, True, per_token)
    return Prompt(tokens, visual, False, per_token)


def collate(vlm: VLM, prompts: Sequence[Prompt]) -> PromptBatch:
    """Put prompts side by side; the same prompt may stand in many rows."""
    length = max(len(prompt.tokens) for prompt in prompts)
    pad = vlm.processor.tokenizer.pad_token_id or 0
    tokens = torch.full((len(prompts), length), pad, device=vlm.device)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt.tokens) :] = prompt.tokens
        mask[row, length - len(prompt.tokens) :] = 1
    image = (tokens == vlm.image_token) & mask.bool()
    inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask}
    for key in {key for prompt in prompts for key in prompt.per_token}:
        inputs[key] = torch.zeros_like(tokens)
        for row, prompt in enumerate(prompts):
            if key in prompt.per_token:
                inputs[key][row, length - len(prompt.tokens) :] = prompt.per_token[key]
    seen = [prompt for prompt in prompts if prompt.visual]
    if seen and seen[0].encoded:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        pooled = torch.cat([prompt.visual["features"] for prompt in seen])
        inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=pooled)}
    elif seen:
        inputs |= {key: torch.cat([p.visual[key] for p in seen]) for key in seen[0].visual}
    return PromptBatch(tokens, mask, image, inputs)


def prompt_positions(batch: PromptBatch, positions: Positions) -> torch.Tensor:
    """Which prompt tokens a choice of positions means. # [rows, length] bool

    "response" is the last prompt token (it produces the first response token) and everything
    generated after it; here that is the last prompt token. Padding is never chosen.
    """
    real = batch.mask.bool()
    match positions:
        case "all" | "prompt":
            return real
        case "image":
            return batch.image
        case "text":
            return real & ~batch.image
        case "last_prompt" | "response":
            last = torch.zeros_like(real)
            last[:, -1] = True
            return last
    raise CalibError(f"positions={positions} is not known; choose all, prompt, image, text, ...")


def edits_response(positions: Positions) -> bool:
    """Whether a choice of positions covers the generated tokens."""
    return positions in ("all", "response")
