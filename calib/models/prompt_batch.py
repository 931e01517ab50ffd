"""One left-padded batch of prompts, and the tokens that a choice of positions means."""

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from calib.models.load import VLM
from calib.models.prompts import Prompt
from calib.util.errors import CalibError

Positions = Literal["all", "prompt", "image", "text", "last_prompt", "response"]


@dataclass(frozen=True)
class PromptBatch:
    """Prompts side by side, padded on the left."""

    tokens: torch.Tensor  # [rows, length] int64
    attention_mask: torch.Tensor  # [rows, length] int64, 1 where a token stands
    position_ids: torch.Tensor  # [rows, length], or [axes, rows, length]
    image_mask: torch.Tensor  # [rows, length] bool
    token_inputs: dict[str, torch.Tensor]  # [rows, length] each
    image_inputs: dict[str, Any]
    """What the forward pass wants to know about the pictures."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for the model or for generate."""
        text = {"input_ids": self.tokens, "attention_mask": self.attention_mask}
        return {**text, **self.token_inputs, **self.image_inputs}


def collate(vlm: VLM, prompts: Sequence[Prompt]) -> PromptBatch:
    """Put prompts side by side; the same prompt may stand in many rows."""
    length = max(len(prompt.tokens) for prompt in prompts)

    def padded(values: Sequence[torch.Tensor], fill: int = 0) -> torch.Tensor:
        pads = [torch.nn.functional.pad(v, (length - v.shape[-1], 0), value=fill) for v in values]
        return torch.stack(pads, dim=-2)

    mask = padded([torch.ones_like(prompt.tokens) for prompt in prompts])
    kinds = {key for prompt in prompts for key in prompt.token_inputs}
    return PromptBatch(
        tokens=padded([prompt.tokens for prompt in prompts], vlm.pad_token_id),
        attention_mask=mask,
        position_ids=padded([prompt.position_ids for prompt in prompts]),
        image_mask=padded([prompt.image_mask for prompt in prompts]),
        token_inputs={
            key: padded([p.token_inputs.get(key, torch.zeros_like(p.tokens)) for p in prompts])
            for key in sorted(kinds)
        },
        image_inputs=_image_inputs(prompts),
    )


def _image_inputs(prompts: Sequence[Prompt]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    pictures = [picture for prompt in prompts for picture in prompt.image_features]
    if pictures:
        features = {key: _joined([one[key] for one in pictures]) for key in pictures[0]}
        seen["mm_encoder_outputs"] = {"image": types.SimpleNamespace(**features)}
    pixels = [prompt.pixel_inputs for prompt in prompts if prompt.pixel_inputs]
    length = max(len(prompt.tokens) for prompt in prompts)
    for key in pixels[0] if pixels else ():
        parts = [one[key] for one in pixels]
        if key == "cross_attention_mask":  # Mllama's has a value per token and tile
            parts = [
                torch.nn.functional.pad(one, (0, 0, 0, 0, length - one.shape[1], 0))
                for one in parts
            ]
        seen[key] = torch.cat(parts)
    return seen


def _joined(parts: Sequence[Any]) -> Any:
    """Features of several pictures as the model would return them for all at once."""
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(list(parts))
    if isinstance(parts[0][0], torch.Tensor):  # a tensor per picture
        return [tensor for part in parts for tensor in part]
    return [_joined(layer) for layer in zip(*parts, strict=True)]  # deepstack: layer by layer


def prompt_positions(batch: PromptBatch, positions: Positions) -> torch.Tensor:
    """Which prompt tokens a choice of positions means. # [rows, length] bool

    "response" is the last prompt token (it produces the first response token) and everything
    generated after it; here that is the last prompt token. Padding is never chosen.
    """
    real = batch.attention_mask.bool()
    match positions:
        case "all" | "prompt":
            return real
        case "image":
            return batch.image_mask
        case "text":
            return real & ~batch.image_mask
        case "last_prompt" | "response":
            last = torch.zeros_like(real)
            last[:, -1] = True
            return last
    raise CalibError(f"positions={positions} is not known; choose all, prompt, image, text, ...")
