"""From an example to what a model reads: chat template, image features, token positions."""

import hashlib
import inspect
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image

from calib.data.example import Example
from calib.errors import CalibError
from calib.vlm.load import VLM

Positions = Literal["all", "prompt", "image", "text", "last_prompt", "response"]


GRIDS = ("image_grid_thw",)
"""Inputs about pictures that position ids are made from, also where features stand for pixels."""


@dataclass(frozen=True)
class Prompt:
    """One example as the model reads it, kept on the model's device."""

    tokens: torch.Tensor  # [length] int64
    places: torch.Tensor
    """Position ids as the model's own generate makes them. # [length], or [axes, length]"""
    image: torch.Tensor  # [length] bool: where an image feature stands
    pictures: tuple[Any, ...]
    """The vision tower's output for each picture; empty where the model takes pixels instead."""
    pixels: dict[str, torch.Tensor]
    """Pixels and what belongs to them, where the features are not kept, else grids only; first axis
    = pictures."""
    per_token: dict[str, torch.Tensor]
    """Further inputs with a value per token, such as token types. # [length]"""

    @property
    def pictured(self) -> bool:
        """Whether there is a picture in it."""
        return bool(self.pictures or self.pixels)


@dataclass(frozen=True)
class PromptBatch:
    """Prompts side by side, padded on the left."""

    tokens: torch.Tensor  # [rows, length] int64
    mask: torch.Tensor  # [rows, length] int64, 1 where a token stands
    places: torch.Tensor  # [rows, length], or [axes, rows, length]
    image: torch.Tensor  # [rows, length] bool
    per_token: dict[str, torch.Tensor]  # [rows, length] each
    seen: dict[str, Any]
    """What the forward pass wants to know about the pictures."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for the model or for generate."""
        text = {"input_ids": self.tokens, "attention_mask": self.mask}
        return {**text, **self.per_token, **self.seen}


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
    """Tokenise one example; its pictures pass the vision tower unless they did so before.

    Raises CalibError when the prompt is longer than the model's context.
    """
    turns = conversation(example)
    try:
        found = _processed(vlm, turns)
    except ValueError as error:
        raise CalibError(
            f"the processor of {vlm.checkpoint} cannot prepare example '{example.id}': {error}"
        ) from error
    tokens = found.pop("input_ids")[0]
    longest = vlm.model.config.get_text_config(decoder=True).max_position_embeddings
    if len(tokens) >= longest:
        raise CalibError(
            f"example '{example.id}' is {len(tokens)} tokens long; {vlm.checkpoint} reads at most "
            f"{longest}. Shorten the query or leave the example out."
        )
    per_token = {k: v[0] for k, v in found.items() if tuple(v.shape) == (1, len(tokens))}
    pixels = {key: value for key, value in found.items() if key not in per_token}
    image = torch.isin(tokens, torch.tensor(vlm.image_tokens, device=tokens.device))
    places = _places(vlm, tokens, per_token, pixels)
    pictures: tuple[Any, ...] = ()
    if pixels and vlm.model._supports_mm_encoder_outputs():
        shown = _shown(turns)
        if len(shown) == 1 or "batch_num_images" in pixels:
            # LLaVA-OneVision cuts a picture into tiles only where it is the only one.
            pictures = (_features(vlm, shown, pixels),)
        else:
            pictures = tuple(_features(vlm, [picture], None) for picture in shown)
        pixels = {key: value for key, value in pixels.items() if key in GRIDS}
    return Prompt(tokens, places, image, pictures, pixels, per_token)


def _shown(turns: Sequence[dict[str, Any]]) -> list[Image.Image]:
    contents = [part for turn in turns for part in turn["content"]]
    return [part["image"] for part in contents if part["type"] == "image"]


def _processed(vlm: VLM, turns: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    settings: dict[str, Any] = {}
    if _shown(turns) and hasattr(vlm.processor.image_processor, "crop_to_patches"):
        settings["crop_to_patches"] = vlm.tiles
    found = vlm.processor.apply_chat_template(
        [turns],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=settings,
    )
    # PaliGemma's processor adds labels, for training.
    for unused in ("attention_mask", "labels"):
        found.pop(unused, None)
    return {key: value.to(vlm.device) for key, value in found.items()}


def _features(
    vlm: VLM, shown: Sequence[Image.Image], pixels: dict[str, torch.Tensor] | None
) -> Any:
    """The vision tower's output for a picture (or several), as the forward pass takes it."""

    def encode() -> Any:
        given = pixels
        if given is None:  # among other pictures: prepared as if it were alone
            contents = [{"type": "image", "image": picture} for picture in shown]
            turn = {"role": "user", "content": contents}
            given = _processed(vlm, [turn])
            length = given.pop("input_ids").shape[1]
            given = {k: v for k, v in given.items() if tuple(v.shape) != (1, length)}
        wanted = inspect.signature(vlm.model.base_model.get_image_features).parameters
        chosen = {key: value for key, value in given.items() if key in wanted}
        output = vlm.model.base_model.get_image_features(**chosen, return_dict=True)
        kept = {"pooler_output": output.pooler_output}
        if getattr(output, "deepstack_features", None) is not None:
            kept["deepstack_features"] = output.deepstack_features
        return kept

    digest = hashlib.sha256()
    for picture in shown:
        digest.update(repr((picture.mode, picture.size)).encode() + picture.tobytes())
    return vlm.pictures.features(digest.hexdigest(), encode)


def _places(
    vlm: VLM,
    tokens: torch.Tensor,
    per_token: dict[str, torch.Tensor],
    pixels: dict[str, torch.Tensor],
) -> torch.Tensor:
    """Position ids of one prompt, made by the model's own preparation of generate."""
    state = {
        "attention_mask": torch.ones_like(tokens)[None],
        **{key: value[None] for key, value in per_token.items()},
        **{key: value for key, value in pixels.items() if key != "pixel_values"},
    }
    places = vlm.model._prepare_position_ids_for_generation(tokens[None], dict(state))
    prepared = vlm.model.prepare_inputs_for_generation(
        tokens[None], position_ids=places, is_first_iteration=True, **state
    )
    return prepared["position_ids"][..., 0, :]


def collate(vlm: VLM, prompts: Sequence[Prompt]) -> PromptBatch:
    """Put prompts side by side; the same prompt may stand in many rows."""
    length = max(len(prompt.tokens) for prompt in prompts)

    def padded(values: Sequence[torch.Tensor], fill: int = 0) -> torch.Tensor:
        pads = [torch.nn.functional.pad(v, (length - v.shape[-1], 0), value=fill) for v in values]
        return torch.stack(pads, dim=-2)

    mask = padded([torch.ones_like(prompt.tokens) for prompt in prompts])
    kinds = {key for prompt in prompts for key in prompt.per_token}
    return PromptBatch(
        tokens=padded([prompt.tokens for prompt in prompts], vlm.pad_token),
        mask=mask,
        places=padded([prompt.places for prompt in prompts]),
        image=padded([prompt.image for prompt in prompts]),
        per_token={
            key: padded([p.per_token.get(key, torch.zeros_like(p.tokens)) for p in prompts])
            for key in sorted(kinds)
        },
        seen=_seen(prompts),
    )


def _seen(prompts: Sequence[Prompt]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    pictures = [picture for prompt in prompts for picture in prompt.pictures]
    if pictures:
        features = {key: _joined([one[key] for one in pictures]) for key in pictures[0]}
        seen["mm_encoder_outputs"] = {"image": types.SimpleNamespace(**features)}
    pixels = [prompt.pixels for prompt in prompts if prompt.pixels]
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
