"""From an example to what a model reads: chat template, image features, token positions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image

from calib.data.example import Example
from calib.models.image_features import image_features
from calib.models.load import VLM
from calib.util.errors import CalibError

PROMPTS_PER_CALL = 16
"""Prompts prepared at once: pixels are large and are let go when their features are there."""
_REFUSED = (ValueError, TemplateError, NotImplementedError)
"""What processors and their chat templates raise for an example they do not take."""
GRIDS = ("image_grid_thw",)
"""Inputs about pictures that position ids are made from, also where features stand for pixels."""


@dataclass(frozen=True)
class Prompt:
    """One example as the model reads it, kept on the model's device."""

    tokens: torch.Tensor  # [length] int64
    position_ids: torch.Tensor
    """Position ids as the model's own generate makes them. # [length], or [axes, length]"""
    image_mask: torch.Tensor  # [length] bool: where an image feature stands
    image_features: tuple[Any, ...]
    """The vision tower's output for each picture; empty where the model takes pixels instead."""
    pixel_inputs: dict[str, torch.Tensor]
    """Pixels and what belongs to them, where the features are not kept, else grids only; first axis
    = pictures."""
    token_inputs: dict[str, torch.Tensor]
    """Further inputs with a value per token, such as token types. # [length]"""

    @property
    def has_image(self) -> bool:
        """Whether there is a picture in it."""
        return bool(self.image_features or self.pixel_inputs)

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """Prompts of one kind can stand in a batch as their model reads them alone: Mllama leaves
        blocks out for a batch without pictures, and takes pixels of one shape."""
        pixels = self.pixel_inputs.get("pixel_values")
        return self.has_image, None if pixels is None else tuple(pixels.shape[1:])


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


def read_prompt(vlm: VLM, example: Example) -> Prompt:
    """One example as the model reads it; see read_prompts."""
    return read_prompts(vlm, [example])[0]


@torch.no_grad()
def read_prompts(vlm: VLM, examples: Sequence[Example]) -> list[Prompt]:
    """Tokenise examples; their pictures pass the vision tower unless they did so before.

    Raises CalibError when a prompt is longer than the model's context, or the model's processor
    does not take an example.
    """
    read: list[Prompt] = []
    for start in range(0, len(examples), PROMPTS_PER_CALL):
        read += _read(vlm, examples[start : start + PROMPTS_PER_CALL])
    return read


def _read(vlm: VLM, examples: Sequence[Example]) -> list[Prompt]:
    turns = [conversation(example) for example in examples]
    found = [
        _begun(vlm, example.response_prefix, one)
        for example, one in zip(examples, _prepared(vlm, examples, turns), strict=True)
    ]
    longest = vlm.model.config.get_text_config(decoder=True).max_position_embeddings
    for example, one in zip(examples, found, strict=True):
        if one["input_ids"].shape[1] >= longest:
            raise CalibError(
                f"example '{example.id}' is {one['input_ids'].shape[1]} tokens long; "
                f"{vlm.checkpoint} reads at most {longest}. Shorten the query or leave the example "
                "out."
            )
    if vlm.model._supports_mm_encoder_outputs():
        seen = image_features(vlm, [_shown(turn) for turn in turns], found, _alone)
    else:
        seen = [() for _ in examples]
    return [_prompt(vlm, one, pictures) for one, pictures in zip(found, seen, strict=True)]


ProcessorOutput = dict[str, torch.Tensor]
"""What a processor makes of one conversation, a batch of one."""


def _prompt(vlm: VLM, found: ProcessorOutput, pictures: tuple[Any, ...]) -> Prompt:
    tokens = found["input_ids"][0]
    rest = {key: value for key, value in found.items() if key != "input_ids"}
    per_token = {k: v[0] for k, v in rest.items() if tuple(v.shape) == (1, len(tokens))}
    pixels = {key: value for key, value in rest.items() if key not in per_token}
    places = _places(vlm, tokens, per_token, pixels)
    if pictures:
        pixels = {key: value for key, value in pixels.items() if key in GRIDS}
    image = torch.isin(tokens, torch.tensor(vlm.image_token_ids, device=tokens.device))
    return Prompt(tokens, places, image, pictures, pixels, per_token)


def _begun(vlm: VLM, begun: str, found: ProcessorOutput) -> ProcessorOutput:
    """A prompt with the first words of its response behind it."""
    if not begun:
        return found
    added = vlm.processor.tokenizer(begun, add_special_tokens=False, return_tensors="pt")
    tokens = added["input_ids"].to(vlm.device)  # [1, added]
    grown = {}
    for key, value in found.items():
        if key == "input_ids":
            value = torch.cat([value, tokens], dim=1)
        elif value.shape[:2] == found["input_ids"].shape:
            # Per token: words of the response see the pictures that the prompt saw.
            last = value[:, -1:] if value.dim() > 2 else _text_type(vlm, found, value)
            value = torch.cat([value, *[last] * tokens.shape[1]], dim=1)
        grown[key] = value
    return grown


def _text_type(vlm: VLM, found: ProcessorOutput, types: torch.Tensor) -> torch.Tensor:
    """The token type of a generated word, given the prompt's. # [1, 1]

    0 is text where pictures have a type of their own; where they are 0 too (PaliGemma) it means
    the prompt, whose tokens look ahead, and 1 what follows it.
    """
    image = torch.isin(found["input_ids"], torch.tensor(vlm.image_token_ids, device=types.device))
    prompt_is_zero = bool(image.any()) and not types[image].any()
    return torch.full_like(types[:, -1:], int(prompt_is_zero))


def _shown(turns: Sequence[dict[str, Any]]) -> list[Image.Image]:
    contents = [part for turn in turns for part in turn["content"]]
    return [part["image"] for part in contents if part["type"] == "image"]


def _alone(vlm: VLM, picture: Image.Image) -> ProcessorOutput:
    """What the processor makes of a picture without the others of its prompt."""
    return _processed(vlm, [[{"role": "user", "content": [{"type": "image", "image": picture}]}]])


def _prepared(
    vlm: VLM, examples: Sequence[Example], turns: Sequence[list[dict[str, Any]]]
) -> list[ProcessorOutput]:
    """Each conversation as if it were processed alone; together where that can be taken apart."""
    if len(turns) > 1:
        try:
            found = _apart(_processed(vlm, turns), [len(_shown(turn)) for turn in turns])
        except _REFUSED:  # some processors want as many pictures in every conversation
            found = None
        if found is not None:
            return found
    alone = []
    for example, turn in zip(examples, turns, strict=True):
        try:
            one = _processed(vlm, [turn])
        except _REFUSED as error:
            spelled = _spelled(vlm, [turn])
            hint = f". Its text spells {', '.join(spelled)}, which stands for something else here: "
            raise CalibError(
                f"the processor of {vlm.checkpoint} cannot prepare example '{example.id}': {error}"
                + (f"{hint}write it otherwise, or leave the example out." if spelled else "")
            ) from error
        one.pop("attention_mask", None)
        alone.append(one)
    return alone


def _apart(found: ProcessorOutput, pictures: Sequence[int]) -> list[ProcessorOutput] | None:
    """A processed batch as batches of one, where it holds values per token and one picture is one
    entry of pixels; None elsewhere."""
    mask = found.pop("attention_mask").bool()  # [conversations, length]
    pixels = found.pop("pixel_values", torch.empty(0))
    plain = all(value.shape == mask.shape for value in found.values())
    if not plain or len(pixels) != sum(pictures) or pixels.dim() not in (1, 4):
        return None
    parts = pixels.split(list(pictures))
    apart = []
    for k, part in enumerate(parts):
        one = {key: value[k, mask[k]][None] for key, value in found.items()}
        apart.append({**one, "pixel_values": part} if len(part) else one)
    return apart


def _processed(vlm: VLM, turns: Sequence[list[dict[str, Any]]]) -> ProcessorOutput:
    settings: dict[str, Any] = {"padding": True} if len(turns) > 1 else {}
    if any(map(_shown, turns)) and hasattr(vlm.processor.image_processor, "crop_to_patches"):
        settings["crop_to_patches"] = vlm.tiles
    with _words_are_words(vlm, turns) as spelled:
        found = vlm.processor.apply_chat_template(
            list(turns),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=spelled,
            processor_kwargs=settings,
        )
    found.pop("labels", None)  # PaliGemma's processor adds them, for training
    return {key: value.to(vlm.device) for key, value in found.items()}


@contextmanager
def _words_are_words(vlm: VLM, turns: Sequence[list[dict[str, Any]]]) -> Iterator[bool]:
    """Whether a text spells a token that the vocabulary adds, such as the end of a turn or the
    place of a picture; within it these are known as what texts must not turn into.

    Queries of others may spell them, and it is their words that are asked, not what they stand for.
    Only then does it matter: no other prompt needs it, and some processors refuse the place of a
    picture even so.
    """
    tokenizer = vlm.processor.tokenizer
    spelled, known = _spelled(vlm, turns), tokenizer.chat_control_tokens
    if spelled:
        tokenizer.chat_control_tokens = spelled
    try:
        yield bool(spelled)
    finally:
        tokenizer.chat_control_tokens = known


def _spelled(vlm: VLM, turns: Sequence[list[dict[str, Any]]]) -> list[str]:
    """The tokens added to the vocabulary that the texts of conversations spell."""
    added = [one.content for one in vlm.processor.tokenizer.added_tokens_decoder.values()]
    parts = [part for turn in turns for message in turn for part in message["content"]]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    # Some vocabularies add runs of blanks.
    return [name for name in added if name.strip() and any(name in text for text in texts)]


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
