"""The end of the user's query in a templated prompt.

Chat templates put tokens of their own after the query, and processors may add more. To find them,
the conversation is processed twice with other texts in place of its last query: the two prompts
end in the same text, the template's tail.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import TemplateError

from calib.models.load import VLM

PROCESSOR_ERRORS = (ValueError, TemplateError, NotImplementedError)
"""Raised by processors and their chat templates for examples they do not support."""
Message = dict[str, Any]
Process = Callable[[VLM, list[list[Message]]], dict[str, Any]]
"""Processes conversations, as calib.models.prompts does for the model's prompts."""

_STAND_INS = ("a b", "c d")
"""Two texts that differ in every character but the blank, in place of the query."""


def instruction_end(
    vlm: VLM, conversation: Sequence[Message], tokens: Sequence[int], process: Process
) -> int | None:
    """Index in ``tokens`` of the last token of the conversation's last query.

    A token that holds the end of the query and the beginning of the tail counts as the query's.
    None if the query is empty or does not end where the template's tail begins, as in templates
    that put the picture after the text.
    """
    if not _query(conversation).strip():
        return None
    tail = _tail(vlm, conversation, process)
    if tail is None:
        return None
    for end in range(len(tokens) - 1, -1, -1):
        text = _text(vlm, tokens[end:])
        if tail.endswith(text):
            continue
        pictured = not set(vlm.image_token_ids).isdisjoint(tokens[end:])
        return end if text.endswith(tail) and not pictured else None
    return None


def _tail(vlm: VLM, conversation: Sequence[Message], process: Process) -> str | None:
    """The text that the template puts after the query; None if it cannot be told.

    PaliGemma's processor takes a conversation without an image only beside others with one.
    """
    # Templates treat conversations of one structure alike.
    structure = tuple(
        (message["role"], tuple(part["type"] for part in message["content"]))
        for message in conversation
    )
    if structure not in vlm.template_tails:
        try:
            first, second = (
                _text(vlm, process(vlm, [_with_query(conversation, text)])["input_ids"][0].tolist())
                for text in _STAND_INS
            )
        except PROCESSOR_ERRORS:
            vlm.template_tails[structure] = None
            return None
        tail = os.path.commonprefix([first[::-1], second[::-1]])[::-1]
        found = first.removesuffix(tail).endswith(_STAND_INS[0]) and second.removesuffix(
            tail
        ).endswith(_STAND_INS[1])
        vlm.template_tails[structure] = tail if found else None
    return vlm.template_tails[structure]


def _query(conversation: Sequence[Message]) -> str:
    return conversation[-1]["content"][-1]["text"]


def _with_query(conversation: Sequence[Message], text: str) -> list[Message]:
    *earlier, last = conversation
    *images, _ = last["content"]
    return [*earlier, {**last, "content": [*images, {"type": "text", "text": text}]}]


def _text(vlm: VLM, tokens: Sequence[int]) -> str:
    return vlm.processor.tokenizer.decode(
        tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
