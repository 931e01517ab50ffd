"""Tokens of prompts: examples through the chat template and the processor; nothing is encoded."""

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
    render,
    rendering,
    require_arrival,
)
from calib.models.image_features import ONE_PICTURE, ProcessorOutput, require_all_pictures
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.thoughts import closing_tag, opened_thought

PROMPT_END = 24
"""Number of tokens at the end of a prompt in which the opening tag of a thought is looked for."""


@dataclass(frozen=True)
class Tokenized:
    """A prompt as the processor makes it."""

    inputs: ProcessorOutput
    """Tokens (``input_ids``), pixels and further inputs, with a first axis of one."""
    conversation: list[dict[str, Any]]
    """The chat messages of the prompt, without the prefilled beginning of the response."""
    prefix: str
    """The prefilled beginning of the response, behind the end of a thought that the chat template
    opens."""
    instruction_end: int | None
    """Index of the last token of the user's query; None if it cannot be found in the prompt."""
    response_tokens: int
    """Number of tokens of the prefilled beginning of the response, at the end of the prompt."""

    @property
    def tokens(self) -> torch.Tensor:
        """Token ids. # [length] int64"""
        return self.inputs["input_ids"][0]


@dataclass(frozen=True)
class PromptTokens:
    """The tokens of one prompt, on the CPU, without anything that the vision tower computes."""

    tokens: torch.Tensor
    """Token ids. # [length] int64"""
    image_mask: torch.Tensor
    """True where an image feature replaces the token's embedding. # [length] bool"""
    instruction_end: int | None = None
    """See Tokenized."""
    response_tokens: int = 0
    """See Tokenized."""


def prompt_tokens(vlm: VLM, example: Example) -> tuple[PromptTokens, Tokenized]:
    """The tokens of an example's prompt, and what they were taken from.

    Raises CalibError as tokenize does, and (unsupported) if a picture is not in the prompt.
    """
    (prompt,) = tokenize(vlm, [example])
    tokens = prompt.tokens.cpu()
    mask = image_mask(vlm, tokens)
    if vlm.image_token_ids:
        require_all_pictures(vlm.checkpoint, example, int(mask.sum()), [])
    short = PromptTokens(tokens, mask, prompt.instruction_end, prompt.response_tokens)
    return short, prompt


def tokenize(vlm: VLM, examples: Sequence[Example]) -> list[Tokenized]:
    """Examples through the chat template and the processor.

    Raises CalibError if a prompt exceeds the model's context, or the processor does not support an
    example.
    """
    conversations = [conversation(as_shown(vlm, example)) for example in examples]
    for example, messages in zip(examples, conversations, strict=True):
        if rendering(vlm, messages).problem:
            require_arrival(vlm, example)
    outputs = _process_each(vlm, examples, conversations)
    prompts = []
    for example, messages, output in zip(examples, conversations, outputs, strict=True):
        closing = _end_of_thought(vlm, output) if example.response_prefix else ""
        begun = _with_prefix(vlm, closing, output)
        inputs = _with_prefix(vlm, example.response_prefix, begun)
        length, context = inputs["input_ids"].shape[1], vlm.context_length
        if context is not None and length >= context:
            raise CalibError(
                "too-large",
                f"example '{example.id}' has {length} tokens, but {vlm.checkpoint} reads at most "
                f"{context}. Shorten the query or remove the example.",
            )
        prompts.append(
            Tokenized(
                inputs,
                messages,
                closing + example.response_prefix,
                instruction_end(vlm, messages, output["input_ids"][0].tolist(), process),
                length - begun["input_ids"].shape[1],
            )
        )
    return prompts


def token_count(vlm: VLM, example: Example) -> int:
    """Number of tokens of an example's prompt; nothing is encoded.

    Raises one of calib.models.chat_template.PROCESSOR_ERRORS if the processor does not support it.
    """
    output = process(vlm, [conversation(as_shown(vlm, example))])
    closing = _end_of_thought(vlm, output) if example.response_prefix else ""
    begun = _with_prefix(vlm, closing, output)
    return _with_prefix(vlm, example.response_prefix, begun)["input_ids"].shape[1]


def image_mask(vlm: VLM, tokens: torch.Tensor) -> torch.Tensor:
    """The tokens that stand for image features. # [..., length] int64 -> bool"""
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


def _end_of_thought(vlm: VLM, processed: ProcessorOutput) -> str:
    """The text that closes a thought which a template opens at the end of its prompts, so that the
    response follows; empty if it opens none."""
    end = processed["input_ids"][0, -PROMPT_END:].tolist()
    text = vlm.processor.tokenizer.decode(end, skip_special_tokens=False)
    closing = closing_tag(opened_thought(text))
    return f"\n{closing}\n\n" if closing else ""


def _response_type(vlm: VLM, processed: ProcessorOutput, types: torch.Tensor) -> torch.Tensor:
    """Token type of response tokens, derived from the prompt's token types. # [1, 1]

    Text is 0 where image tokens have a type of their own. In PaliGemma image tokens are 0 too: 0 is
    the prompt, which attends bidirectionally, and 1 is the response.
    """
    mask = image_mask(vlm, processed["input_ids"])
    prompt_is_zero = bool(mask.any()) and not types[mask].any()
    return torch.full_like(types[:, -1:], int(prompt_is_zero))


def images_of(messages: Sequence[dict[str, Any]]) -> list[Image.Image]:
    parts = [part for message in messages for part in message["content"]]
    return [part["image"] for part in parts if part["type"] == "image"]


def process_image(vlm: VLM, image: Image.Image) -> ProcessorOutput:
    """Process an image without the other images of its prompt."""
    return process(vlm, [[{"role": "user", "content": [{"type": "image", "image": image}]}]])


def _process_each(
    vlm: VLM, examples: Sequence[Example], conversations: Sequence[list[dict[str, Any]]]
) -> list[ProcessorOutput]:
    """Process conversations with the same result as one by one; in a batch where possible."""
    if len(conversations) > 1:
        image_counts = [len(images_of(messages)) for messages in conversations]
        try:
            split = _split(process(vlm, conversations), image_counts)
        except PROCESSOR_ERRORS:  # some processors need equally many images in each conversation
            split = None
        if split is not None:
            return split
    outputs = []
    for example, messages in zip(examples, conversations, strict=True):
        try:
            output = process(vlm, [messages])
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


def process(vlm: VLM, conversations: Sequence[list[dict[str, Any]]]) -> ProcessorOutput:
    settings: dict[str, Any] = {"padding": True} if len(conversations) > 1 else {}
    tiling = hasattr(vlm.processor.image_processor, "crop_to_patches")
    if tiling and any(map(images_of, conversations)):
        settings["crop_to_patches"] = vlm.tiles
    given = [as_text(each, rendering(vlm, each).text_roles) for each in conversations]
    for each in given:  # a template may treat these words otherwise than those of rendering
        render(vlm, each)
    with _special_tokens_as_text(vlm, conversations) as sanitizing:
        output = vlm.processor.apply_chat_template(
            given,
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
