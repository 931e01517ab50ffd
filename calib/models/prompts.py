"""Turn examples into prompts: tokens, position ids and image features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calib.data.example import Example
from calib.models.image_features import image_features, require_all_pictures
from calib.models.load import VLM
from calib.models.tokens import (
    Tokenized,
    image_mask,
    images_of,
    process_image,
    prompt_tokens,
    tokenize,
)
from calib.util.errors import CalibError

PROMPTS_PER_CALL = 16
"""Prompts that are processed at once until the size of their pixels is known."""
MOST_PROMPTS_PER_CALL = 128
PIXEL_BYTES = 64 * 2**20
"""Pixels processed at once, in bytes, beyond PROMPTS_PER_CALL prompts. They are freed once their
features are computed."""
GRIDS = ("image_grid_thw",)
"""Image inputs that position ids are computed from, needed also when features replace pixels."""


@dataclass(frozen=True)
class Prompt:
    """An example as model inputs, on the model's device."""

    tokens: torch.Tensor
    """Token ids. # [length] int64"""
    position_ids: torch.Tensor
    """Position ids as the model's own generate computes them. # [length], or [axes, length]"""
    image_mask: torch.Tensor
    """True where an image feature replaces the token's embedding. # [length] bool"""
    image_features: tuple[Any, ...]
    """The vision tower's output per image; empty if the model's forward pass takes pixels."""
    pixel_inputs: dict[str, torch.Tensor]
    """Pixels and related inputs, or only grids if features are cached. First axis: images."""
    token_inputs: dict[str, torch.Tensor]
    """Other inputs with one value per token, such as token types. # [length] each"""
    instruction_end: int | None = None
    """Index of the last token of the user's query; None if it cannot be found in the prompt."""
    response_tokens: int = 0
    """Number of tokens of the prefilled beginning of the response, at the end of the prompt."""
    paddable: bool = True
    """Whether the model's outputs are the same with padding on the left."""

    @property
    def has_image(self) -> bool:
        """Whether the prompt contains an image."""
        return bool(self.image_features or self.pixel_inputs)

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """Prompts with equal keys may share a batch without changing their outputs.

        Mllama skips blocks in batches without images, and needs pixels of one shape. Where padding
        changes outputs, prompts are of one length.
        """
        pixels = self.pixel_inputs.get("pixel_values")
        shape = None if pixels is None else tuple(pixels.shape[1:])
        return self.has_image, shape, None if self.paddable else len(self.tokens)


def read_prompt(vlm: VLM, example: Example) -> Prompt:
    """The prompt of one example; see read_prompts."""
    return read_prompts(vlm, [example])[0]


@torch.no_grad()
def read_prompts(vlm: VLM, examples: Sequence[Example]) -> list[Prompt]:
    """Tokenize examples, and encode their images unless the features are cached.

    Raises CalibError if a prompt exceeds the model's context, or the processor does not support an
    example.
    """
    prompts: list[Prompt] = []
    at_once = PROMPTS_PER_CALL
    while len(prompts) < len(examples):
        some = examples[len(prompts) : len(prompts) + at_once]
        tokenized = tokenize(vlm, some)
        at_once = _prompts_per_call(vlm, tokenized)
        prompts += _read(vlm, some, tokenized)
    return prompts


def check_several_pictures(vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (unsupported) when the model does not take the most pictures of a query.

    Without weights, the number of tokens is checked only.
    """
    most = max(examples, key=lambda example: len(example.pictures), default=None)
    if most is not None and len(most.pictures) > 1:
        read_prompt(vlm, most) if vlm.has_weights else prompt_tokens(vlm, most)


def _prompts_per_call(vlm: VLM, tokenized: Sequence[Tokenized]) -> int:
    """Number of prompts to process at once, after ``tokenized``; more than PROMPTS_PER_CALL only
    where a picture has equally many pixels whatever its size, so that later ones are no larger."""
    largest = 0
    for prompt in tokenized:
        pixels = prompt.inputs.get("pixel_values")
        if pixels is None:
            continue
        per_token = (1, len(prompt.tokens))
        others = [v for v in prompt.inputs.values() if v is not pixels and v.shape != per_token]
        pictures = len(images_of(prompt.conversation))
        if vlm.tiles or others or pixels.dim() != 4 or len(pixels) != pictures:
            return PROMPTS_PER_CALL
        largest = max(largest, pixels.numel() * pixels.element_size())
    if not largest:
        return PROMPTS_PER_CALL
    return min(max(PIXEL_BYTES // largest, PROMPTS_PER_CALL), MOST_PROMPTS_PER_CALL)


def _read(vlm: VLM, examples: Sequence[Example], tokenized: Sequence[Tokenized]) -> list[Prompt]:
    features: list[tuple[Any, ...]] = [() for _ in examples]
    if vlm.model._supports_mm_encoder_outputs():
        images = [images_of(prompt.conversation) for prompt in tokenized]
        inputs = [prompt.inputs for prompt in tokenized]
        features = image_features(vlm, images, inputs, process_image)
    masks = [image_mask(vlm, prompt.tokens) for prompt in tokenized]
    if vlm.image_token_ids:
        for example, mask, of_images in zip(examples, masks, features, strict=True):
            require_all_pictures(vlm.checkpoint, example, int(mask.sum()), of_images)
    known: dict[bytes, torch.Tensor] = {}
    return [_prompt(vlm, *each, known) for each in zip(tokenized, masks, features, strict=True)]


def _prompt(
    vlm: VLM,
    tokenized: Tokenized,
    mask: torch.Tensor,
    features: tuple[Any, ...],
    known_positions: dict[bytes, torch.Tensor],
) -> Prompt:
    tokens = tokenized.tokens
    rest = {key: value for key, value in tokenized.inputs.items() if key != "input_ids"}
    token_inputs = {k: v[0] for k, v in rest.items() if tuple(v.shape) == (1, len(tokens))}
    pixel_inputs = {key: value for key, value in rest.items() if key not in token_inputs}
    if token_inputs or pixel_inputs.keys() - {"pixel_values"}:
        position_ids = _position_ids(vlm, tokens, token_inputs, pixel_inputs)
    else:
        # They depend on nothing but where images are, so prompts of one layout share them.
        layout = mask.cpu().numpy().tobytes()
        if layout not in known_positions:
            known_positions[layout] = _position_ids(vlm, tokens, {}, pixel_inputs)
        position_ids = known_positions[layout]
    if features:
        pixel_inputs = {key: value for key, value in pixel_inputs.items() if key in GRIDS}
    if (features or pixel_inputs) and vlm.image_token_ids and not mask.any():
        raise CalibError(
            "unsupported",
            f"the chat template of {vlm.checkpoint} leaves out pictures: its prompt has none of "
            "the tokens that stand for one. Give another model.chat_template.",
        )
    return Prompt(
        tokens,
        position_ids,
        mask,
        features,
        pixel_inputs,
        token_inputs,
        tokenized.instruction_end,
        tokenized.response_tokens,
        not vlm.has_recurrent_state,
    )


def _position_ids(
    vlm: VLM,
    tokens: torch.Tensor,
    token_inputs: dict[str, torch.Tensor],
    pixel_inputs: dict[str, torch.Tensor],
) -> torch.Tensor:
    """Position ids of one prompt, computed by the model's own preparation for generate."""
    state = {
        "attention_mask": torch.ones_like(tokens)[None],
        **{key: value[None] for key, value in token_inputs.items()},
        **{key: value for key, value in pixel_inputs.items() if key != "pixel_values"},
    }
    position_ids = vlm.model._prepare_position_ids_for_generation(tokens[None], dict(state))
    prepared = vlm.model.prepare_inputs_for_generation(
        tokens[None], position_ids=position_ids, is_first_iteration=True, **state
    )
    return prepared["position_ids"][..., 0, :]
