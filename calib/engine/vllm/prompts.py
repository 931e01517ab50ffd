"""Prompts for vLLM: chat messages, and the tokens that vLLM must read for them."""

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import Any

import torch
from PIL import Image

from calib.data.example import Example
from calib.engine.vllm.request import VllmRequest
from calib.models.chat_template import as_text, rendering
from calib.models.load import VLM
from calib.models.tokens import PromptTokens, Tokenized, image_mask, images_of, prompt_tokens
from calib.util.errors import CalibError

KEPT = 512
"""Prompts whose messages stay in memory."""


@dataclass
class ServedPrompt:
    """An example as chat messages, with the tokens of its prompt."""

    example: Example
    request: VllmRequest
    """A request with the prompt alone: no edits, and one token of response."""
    tokens: PromptTokens
    """The processor's tokens, replaced by vLLM's where it expands pictures to more or fewer."""


class ServedPrompts:
    """The prompts of a run, each made once while it is in use."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        self.resized: set[str] = set()
        """Ids of examples whose pictures have another number of tokens in vLLM."""
        self._prompts: OrderedDict[int, ServedPrompt] = OrderedDict()  # by id() of the example
        self._lock = threading.RLock()  # a server's requests are built in its own thread

    def get(self, example: Example) -> ServedPrompt:
        """The prompt of an example. Raises CalibError as prompt_tokens does."""
        with self._lock:
            if id(example) not in self._prompts:
                tokens, tokenized = prompt_tokens(self.vlm, example)
                request = _request(self.vlm, tokenized)
                self._prompts[id(example)] = ServedPrompt(example, request, tokens)
                if len(self._prompts) > KEPT:
                    self._prompts.popitem(last=False)
            self._prompts.move_to_end(id(example))
            return self._prompts[id(example)]

    def confirm(self, example: Example, read: tuple[int, ...]) -> bool:
        """Whether vLLM read the expected tokens for an example.

        If it differs in the number of image tokens only, its tokens are expected from now on.
        Raises CalibError (mismatch) for any other difference.
        """
        prompt = self.get(example)
        expected = prompt.tokens.tokens.tolist()
        if expected == list(read):
            return True
        self._require_same_text(example, expected, list(read))
        tokens = torch.tensor(read)
        end = prompt.tokens.instruction_end
        if end is not None and any(t in self.vlm.image_token_ids for t in expected[:end]):
            end += len(read) - len(expected)  # the query follows its pictures
        prompt.tokens = replace(
            prompt.tokens,
            tokens=tokens,
            image_mask=image_mask(self.vlm, tokens),
            instruction_end=end,
        )
        self.resized.add(example.id)
        return False

    def _require_same_text(self, example: Example, expected: list[int], read: list[int]) -> None:
        ours, theirs = (self._without_counts(tokens) for tokens in (expected, read))
        if ours == theirs:
            return
        place, (token, other) = next(
            (k, pair) for k, pair in enumerate(zip_longest(ours, theirs)) if pair[0] != pair[1]
        )
        raise CalibError(
            "mismatch",
            f"vLLM reads another prompt than calib for example '{example.id}': token {place} "
            f"(pictures counted as one) is {self._shown(other)} instead of {self._shown(token)}. "
            "Serve the checkpoint of the run with its own chat template. A text that contains a "
            "special token of the model is read as that token by vLLM: rephrase it, remove the "
            "example, or use engine=transformers.",
        )

    def _without_counts(self, tokens: list[int]) -> list[int]:
        image = set(self.vlm.image_token_ids)
        runs = [(token, list(run)) for token, run in groupby(tokens)]
        return [t for token, run in runs for t in ([token] if token in image else run)]

    def _shown(self, token: int | None) -> str:
        if token is None:
            return "absent"
        return repr(self.vlm.processor.tokenizer.convert_ids_to_tokens(token))


def _request(vlm: VLM, prompt: Tokenized) -> VllmRequest:
    conversation = list(prompt.conversation)
    if prompt.prefix:
        part = {"type": "text", "text": prompt.prefix}
        conversation.append({"role": "assistant", "content": [part]})
    messages = as_text(conversation, rendering(vlm, conversation).text_roles)
    return VllmRequest(
        [{**message, "content": _content(message["content"])} for message in messages],
        max_tokens=1,
        chat_template=vlm.own_template,
        template_kwargs=dict(vlm.template_kwargs),
        add_generation_prompt=not prompt.prefix,
        continue_final_message=bool(prompt.prefix),
        processor_kwargs=_processor_kwargs(vlm, images_of(prompt.conversation)),
    )


def _processor_kwargs(vlm: VLM, images: Sequence[Image.Image]) -> dict[str, Any]:
    """The setting of tiles, where it decides about any of the pictures: a server takes such
    settings only if it was started with --trust-request-mm-kwargs."""
    processor = vlm.processor.image_processor
    if not hasattr(processor, "crop_to_patches"):
        return {}
    side = min(processor.size["height"], processor.size["width"])
    small = all(image.width == image.height <= side for image in images)
    return {} if small and not vlm.tiles else {"crop_to_patches": vlm.tiles}


def _content(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    buffer = io.BytesIO()
    part["image"].convert("RGB").save(buffer, "PNG", compress_level=1)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": url}}
