"""A left-padded batch of prompts, and the prompt tokens that a choice of positions selects."""

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from calib.config.choices import POSITIONS, Positions
from calib.models.load import VLM
from calib.models.prompts import Prompt
from calib.models.tokens import PromptTokens
from calib.util.errors import CalibError


@dataclass(frozen=True)
class PromptToken:
    """One token of a prompt as the tokens to edit, for edits made for one prompt."""

    from_end: int
    """1 is the last token of the prompt, 2 the one before it."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts as the rows of one batch, padded on the left."""

    tokens: torch.Tensor
    """Token ids. # [rows, length] int64"""
    attention_mask: torch.Tensor
    """1 for tokens, 0 for padding. # [rows, length] int64"""
    position_ids: torch.Tensor
    """Position ids. # [rows, length], or [axes, rows, length]"""
    image_mask: torch.Tensor
    """True where an image feature replaces the token's embedding. # [rows, length] bool"""
    token_inputs: dict[str, torch.Tensor]
    """Other inputs with one value per token. # [rows, length] each"""
    image_inputs: dict[str, Any]
    """Image inputs of the forward pass: features, grids or pixels."""
    instruction_end: torch.Tensor
    """Column of the last token of the user's query; -1 if unknown. # [rows] int64"""
    response_tokens: torch.Tensor
    """Number of tokens of the prefilled beginning of the response. # [rows] int64"""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments of the model's forward and generate."""
        text = {"input_ids": self.tokens, "attention_mask": self.attention_mask}
        return {**text, **self.token_inputs, **self.image_inputs}


def collate(vlm: VLM, prompts: Sequence[Prompt]) -> PromptBatch:
    """Stack prompts into a batch; a prompt may occur in several rows."""
    length = max(len(prompt.tokens) for prompt in prompts)

    def padded(values: Sequence[torch.Tensor], fill: int = 0) -> torch.Tensor:
        pads = [torch.nn.functional.pad(v, (length - v.shape[-1], 0), value=fill) for v in values]
        return torch.stack(pads, dim=-2)

    keys = {key for prompt in prompts for key in prompt.token_inputs}
    return PromptBatch(
        tokens=padded([prompt.tokens for prompt in prompts], vlm.pad_token_id),
        attention_mask=padded([torch.ones_like(prompt.tokens) for prompt in prompts]),
        position_ids=padded([prompt.position_ids for prompt in prompts]),
        image_mask=padded([prompt.image_mask for prompt in prompts]),
        token_inputs={
            key: padded([p.token_inputs.get(key, torch.zeros_like(p.tokens)) for p in prompts])
            for key in sorted(keys)
        },
        image_inputs=_image_inputs(prompts),
        instruction_end=torch.tensor(
            [
                -1
                if prompt.instruction_end is None
                else length - len(prompt.tokens) + prompt.instruction_end
                for prompt in prompts
            ],
            device=prompts[0].tokens.device,
        ),
        response_tokens=torch.tensor(
            [prompt.response_tokens for prompt in prompts], device=prompts[0].tokens.device
        ),
    )


def token_batch(prompt: PromptTokens) -> PromptBatch:
    """A batch of one prompt of which the tokens alone are known, to find positions in it."""
    tokens = prompt.tokens[None]
    end = -1 if prompt.instruction_end is None else prompt.instruction_end
    return PromptBatch(
        tokens=tokens,
        attention_mask=torch.ones_like(tokens),
        position_ids=torch.arange(tokens.shape[1])[None],
        image_mask=prompt.image_mask[None],
        token_inputs={},
        image_inputs={},
        instruction_end=torch.tensor([end]),
        response_tokens=torch.tensor([prompt.response_tokens]),
    )


def _image_inputs(prompts: Sequence[Prompt]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    features = [image for prompt in prompts for image in prompt.image_features]
    if features:
        joined = {key: _join([image[key] for image in features]) for key in features[0]}
        inputs["mm_encoder_outputs"] = {"image": types.SimpleNamespace(**joined)}
    pixels = [prompt.pixel_inputs for prompt in prompts if prompt.pixel_inputs]
    length = max(len(prompt.tokens) for prompt in prompts)
    for key in pixels[0] if pixels else ():
        parts = [prompt_pixels[key] for prompt_pixels in pixels]
        if key == "cross_attention_mask":  # Mllama's, with one value per token and tile
            parts = [
                torch.nn.functional.pad(part, (0, 0, 0, 0, length - part.shape[1], 0))
                for part in parts
            ]
        inputs[key] = torch.cat(parts)
    return inputs


def _join(parts: Sequence[Any]) -> Any:
    """Features of several images in the form in which the model returns them together."""
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(list(parts))
    if isinstance(parts[0][0], torch.Tensor):  # a tensor per image
        return [tensor for part in parts for tensor in part]
    return [_join(layer) for layer in zip(*parts, strict=True)]  # deepstack: layer by layer


def prompt_positions(batch: PromptBatch, positions: Positions | PromptToken) -> torch.Tensor:
    """Mask of the prompt tokens that ``positions`` selects for editing. # [rows, length] bool

    "response" is the last prompt token, whose output predicts the first response token, and all
    generated tokens; within the prompt it equals "last_prompt". Padding is never selected.

    Raises CalibError (unsupported) for "after_instruction" if the end of a query is unknown.
    """
    real = batch.attention_mask.bool()
    columns = torch.arange(real.shape[1], device=real.device)
    match positions:
        case PromptToken(from_end):
            return real & (columns == real.shape[1] - from_end)
        case "all" | "prompt":
            return real
        case "image":
            return batch.image_mask
        case "text":
            return real & ~batch.image_mask
        case "last_prompt" | "response":
            return _column(batch, -1)
        case "after_instruction":
            return columns >= _instruction_end(batch)[:, None]
    raise CalibError(
        "invalid-setting",
        f"positions={positions} does not exist. Choose {', '.join(POSITIONS)}.",
    )


def read_tokens(batch: PromptBatch, positions: str) -> torch.Tensor:
    """Mask of the tokens that activations are read from. # [rows, length] bool

    "response" are the tokens of the response that the prompt ends with, and "last_prompt-1" is the
    token before the last. A row without such tokens has none selected.

    Raises CalibError (unsupported) for "instruction_end" if the end of a query is unknown.
    """
    real = batch.attention_mask.bool()
    columns = torch.arange(real.shape[1], device=real.device)
    if positions == "instruction_end":
        return columns == _instruction_end(batch)[:, None]
    if positions == "response":
        return columns >= real.shape[1] - batch.response_tokens[:, None]
    name, minus, offset = positions.partition("-")
    if name == "last_prompt" and minus:
        back = int(offset) + 1
        return _column(batch, -back) & real if back <= real.shape[1] else torch.zeros_like(real)
    return prompt_positions(batch, cast(Positions, positions))


def _column(batch: PromptBatch, column: int) -> torch.Tensor:
    mask = torch.zeros_like(batch.attention_mask, dtype=torch.bool)
    mask[:, column] = True
    return mask


def _instruction_end(batch: PromptBatch) -> torch.Tensor:
    """Column of each row's last query token. # [rows] int64"""
    if (batch.instruction_end < 0).any():
        raise CalibError(
            "unsupported",
            "the end of the query cannot be found in the prompt: the query is empty, or the chat "
            "template puts something other than its own text after it. Choose positions and "
            "read_positions other than after_instruction and instruction_end.",
        )
    return batch.instruction_end
