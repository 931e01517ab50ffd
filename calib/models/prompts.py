"""Turn examples into prompts: chat template, tokens, position ids and image features."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from PIL import Image

from calib.data.example import Example
from calib.models.chat_template import (
    PROCESSOR_ERRORS,
    as_shown,
    as_text,
    conversation,
    instruction_end,
    rendering,
    require_arrival,
)
from calib.models.image_features import (
    ONE_PICTURE,
    ProcessorOutput,
    image_features,
    require_all_pictures,
)
from calib.models.layers import has_recurrent_state
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.thoughts import closing_tag, opened_thought

PROMPTS_PER_CALL = 16
"""Prompts processed at once. Pixels are large; they are freed once their features are computed."""
PROMPT_END = 24
"""Number of tokens at the end of a prompt in which the opening tag of a thought is looked for."""
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


def token_count(vlm: VLM, example: Example) -> int:
    """Number of tokens of an example's prompt; nothing is encoded.

    Raises one of calib.models.chat_template.PROCESSOR_ERRORS if the processor does not support it.
    """
    output = _process(vlm, [conversation(as_shown(vlm, example))])
    begun = _without_thought(vlm, output) if example.response_prefix else output
    return _with_prefix(vlm, example.response_prefix, begun)["input_ids"].shape[1]


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
    for start in range(0, len(examples), PROMPTS_PER_CALL):
        prompts += _read(vlm, examples[start : start + PROMPTS_PER_CALL])
    return prompts


def check_several_pictures(vlm: VLM, examples: Sequence[Example]) -> None:
    """Raise CalibError (unsupported) when the model does not take the most pictures of a query."""
    most = max(examples, key=lambda example: len(example.pictures), default=None)
    if most is not None and len(most.pictures) > 1:
        read_prompt(vlm, most)


def _read(vlm: VLM, examples: Sequence[Example]) -> list[Prompt]:
    for example in examples:
        require_arrival(vlm, example)
    conversations = [conversation(as_shown(vlm, example)) for example in examples]
    outputs = _process_each(vlm, examples, conversations)
    begun = [
        _without_thought(vlm, output) if example.response_prefix else output
        for example, output in zip(examples, outputs, strict=True)
    ]
    processed = [
        _with_prefix(vlm, example.response_prefix, output)
        for example, output in zip(examples, begun, strict=True)
    ]
    context = vlm.context_length
    for example, output in zip(examples, processed, strict=True):
        length = output["input_ids"].shape[1]
        if context is not None and length >= context:
            raise CalibError(
                "too-large",
                f"example '{example.id}' has {length} tokens, but {vlm.checkpoint} reads at most "
                f"{context}. Shorten the query or remove the example.",
            )
    features: list[tuple[Any, ...]] = [() for _ in examples]
    if vlm.model._supports_mm_encoder_outputs():
        images = [_images(messages) for messages in conversations]
        features = image_features(vlm, images, processed, _process_image)
    if vlm.image_token_ids:
        for example, output, of_images in zip(examples, processed, features, strict=True):
            tokens = int(_image_mask(vlm, output["input_ids"]).sum())
            require_all_pictures(vlm.checkpoint, example, tokens, of_images)
    lengths = [output["input_ids"].shape[1] for output in begun]  # without the prefix
    ends = [
        instruction_end(vlm, messages, output["input_ids"][0].tolist(), _process)
        for messages, output in zip(conversations, outputs, strict=True)
    ]
    return [
        _prompt(vlm, *inputs) for inputs in zip(processed, features, ends, lengths, strict=True)
    ]


def _prompt(
    vlm: VLM,
    processed: ProcessorOutput,
    features: tuple[Any, ...],
    instruction_end: int | None,
    length: int,
) -> Prompt:
    tokens = processed["input_ids"][0]
    rest = {key: value for key, value in processed.items() if key != "input_ids"}
    token_inputs = {k: v[0] for k, v in rest.items() if tuple(v.shape) == (1, len(tokens))}
    pixel_inputs = {key: value for key, value in rest.items() if key not in token_inputs}
    position_ids = _position_ids(vlm, tokens, token_inputs, pixel_inputs)
    if features:
        pixel_inputs = {key: value for key, value in pixel_inputs.items() if key in GRIDS}
    image_mask = _image_mask(vlm, tokens)
    if (features or pixel_inputs) and vlm.image_token_ids and not image_mask.any():
        raise CalibError(
            "unsupported",
            f"the chat template of {vlm.checkpoint} leaves out pictures: its prompt has none of "
            "the tokens that stand for one. Give another model.chat_template.",
        )
    return Prompt(
        tokens,
        position_ids,
        image_mask,
        features,
        pixel_inputs,
        token_inputs,
        instruction_end,
        len(tokens) - length,
        not has_recurrent_state(vlm.model),
    )


def _image_mask(vlm: VLM, tokens: torch.Tensor) -> torch.Tensor:
    return torch.isin(tokens, torch.tensor(vlm.image_token_ids, device=tokens.device))


def _with_prefix(vlm: VLM, prefix: str, processed: ProcessorOutput) -> ProcessorOutput:
    """Append the tokens of a response prefix to a prompt."""
    if not prefix:
        return processed
    added = vlm.processor.tokenizer(prefix, add_special_tokens=False, return_tensors="pt")
    tokens = added["input_ids"].to(vlm.device)  # [1, added]
    extended = {}
    for key, value in processed.items():
        if key == "input_ids":
            value = torch.cat([value, tokens], dim=1)
        elif value.shape[:2] == processed["input_ids"].shape:
            # One entry per token. With further axes it is a cross-attention mask, where the prefix
            # attends to the same images as the last prompt token.
            last = value[:, -1:] if value.dim() > 2 else _response_type(vlm, processed, value)
            value = torch.cat([value, *[last] * tokens.shape[1]], dim=1)
        extended[key] = value
    return extended


def _without_thought(vlm: VLM, processed: ProcessorOutput) -> ProcessorOutput:
    """Close the thought that a template opens at the end of its prompts: the response follows."""
    end = processed["input_ids"][0, -PROMPT_END:].tolist()
    text = vlm.processor.tokenizer.decode(end, skip_special_tokens=False)
    closing = closing_tag(opened_thought(text))
    return _with_prefix(vlm, f"\n{closing}\n\n" if closing else "", processed)


def _response_type(vlm: VLM, processed: ProcessorOutput, types: torch.Tensor) -> torch.Tensor:
    """Token type of response tokens, derived from the prompt's token types. # [1, 1]

    Text is 0 where image tokens have a type of their own. In PaliGemma image tokens are 0 too: 0 is
    the prompt, which attends bidirectionally, and 1 is the response.
    """
    image_mask = _image_mask(vlm, processed["input_ids"])
    prompt_is_zero = bool(image_mask.any()) and not types[image_mask].any()
    return torch.full_like(types[:, -1:], int(prompt_is_zero))


def _images(messages: Sequence[dict[str, Any]]) -> list[Image.Image]:
    parts = [part for message in messages for part in message["content"]]
    return [part["image"] for part in parts if part["type"] == "image"]


def _process_image(vlm: VLM, image: Image.Image) -> ProcessorOutput:
    """Process an image without the other images of its prompt."""
    return _process(vlm, [[{"role": "user", "content": [{"type": "image", "image": image}]}]])


def _process_each(
    vlm: VLM, examples: Sequence[Example], conversations: Sequence[list[dict[str, Any]]]
) -> list[ProcessorOutput]:
    """Process conversations with the same result as one by one; in a batch where possible."""
    if len(conversations) > 1:
        image_counts = [len(_images(messages)) for messages in conversations]
        try:
            split = _split(_process(vlm, conversations), image_counts)
        except PROCESSOR_ERRORS:  # some processors need equally many images in each conversation
            split = None
        if split is not None:
            return split
    outputs = []
    for example, messages in zip(examples, conversations, strict=True):
        try:
            output = _process(vlm, [messages])
        except PROCESSOR_ERRORS as error:
            special = _special_tokens(vlm, [messages])
            hint = ""
            if special:
                hint = (
                    f" Its text contains {', '.join(special)}, a special token of this model: "
                    "rephrase the text or remove the example."
                )
            elif len(example.pictures) > 1:
                hint = f" It has {len(example.pictures)} pictures. {ONE_PICTURE}"
            reason = str(error).rstrip(". ")
            raise CalibError(
                "unsupported",
                f"the processor of {vlm.checkpoint} cannot prepare example '{example.id}': "
                f"{reason}.{hint}",
            ) from error
        output.pop("attention_mask", None)
        outputs.append(output)
    return outputs


def _split(batch: ProcessorOutput, image_counts: Sequence[int]) -> list[ProcessorOutput] | None:
    """Split a processed batch into batches of one.

    Returns None unless every input has one value per token, and each image one entry of pixels.
    """
    mask = batch.pop("attention_mask").bool()  # [conversations, length]
    pixels = batch.pop("pixel_values", torch.empty(0))
    per_token = all(value.shape == mask.shape for value in batch.values())
    if not per_token or len(pixels) != sum(image_counts) or pixels.dim() not in (1, 4):
        return None
    outputs = []
    for row, row_pixels in enumerate(pixels.split(list(image_counts))):
        output = {key: value[row, mask[row]][None] for key, value in batch.items()}
        outputs.append({**output, "pixel_values": row_pixels} if len(row_pixels) else output)
    return outputs


def _process(vlm: VLM, conversations: Sequence[list[dict[str, Any]]]) -> ProcessorOutput:
    settings: dict[str, Any] = {"padding": True} if len(conversations) > 1 else {}
    tiling = hasattr(vlm.processor.image_processor, "crop_to_patches")
    if tiling and any(map(_images, conversations)):
        settings["crop_to_patches"] = vlm.tiles
    with _special_tokens_as_text(vlm, conversations) as sanitizing:
        output = vlm.processor.apply_chat_template(
            [as_text(each, rendering(vlm, each).text_roles) for each in conversations],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=settings,
            **sanitizing,
            **vlm.template_kwargs,
        )
    output.pop("labels", None)  # PaliGemma's processor adds training labels
    return {key: value.to(vlm.device) for key, value in output.items()}


@contextmanager
def _special_tokens_as_text(
    vlm: VLM, conversations: Sequence[list[dict[str, Any]]]
) -> Iterator[dict[str, bool]]:
    """Tokenize special tokens in texts, such as <|im_end|> or <image>, as ordinary text.

    Third-party queries may contain them. Yields the arguments of apply_chat_template that do it;
    none where no text contains any, because some processors then reject their own image tokens.

    Raises CalibError (unsupported) for such a text with a transformers that cannot do it (5.19).
    """
    tokenizer = vlm.processor.tokenizer
    special = _special_tokens(vlm, conversations)
    if not special:
        yield {}
        return
    if not hasattr(tokenizer, "chat_control_tokens"):
        raise CalibError(
            "unsupported",
            f"a text contains {', '.join(special)}, a special token of this model, which "
            f"transformers {transformers.__version__} cannot read as ordinary text. Use the "
            "version of constraints.txt, or rephrase the text or remove the example.",
        )
    previous = tokenizer.chat_control_tokens
    tokenizer.chat_control_tokens = special
    try:
        yield {"sanitize_control_tokens": True}
    finally:
        tokenizer.chat_control_tokens = previous


def _special_tokens(vlm: VLM, conversations: Sequence[list[dict[str, Any]]]) -> list[str]:
    """Added tokens of the vocabulary that occur in the texts of conversations."""
    added = [token.content for token in vlm.processor.tokenizer.added_tokens_decoder.values()]
    messages = [message for conversation in conversations for message in conversation]
    parts = [part for message in messages for part in message["content"]]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    # Some vocabularies add runs of blanks as tokens.
    return [token for token in added if token.strip() and any(token in text for text in texts)]


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
