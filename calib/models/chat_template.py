"""Chat templates: conversations, the parts of one that reach the prompt, and the end of the query.

Templates may drop or refuse system messages and earlier turns. To find out, a conversation with
other texts is rendered, and the texts are looked for in the result.

Templates put tokens of their own after the query, and processors may add more. To find them, the
conversation is processed twice with other texts in place of its last query: the two prompts end in
the same text, the template's tail.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jinja2 import TemplateError
from PIL import Image

from calib.data.example import Example, Picture, map_pictures
from calib.models.load import VLM
from calib.models.processor import scaled_down
from calib.models.template_bounds import rendered
from calib.util.errors import CalibError

PROCESSOR_ERRORS = (
    ValueError, TemplateError, NotImplementedError, ArithmeticError, LookupError, TypeError,
    RecursionError, MemoryError,
)  # fmt: skip
"""Raised by processors and their chat templates for examples they do not support."""
Message = dict[str, Any]
Process = Callable[[VLM, list[list[Message]]], dict[str, Any]]
"""Processes conversations, as calib.models.prompts does for the model's prompts."""

TEXT_ROLES: tuple[tuple[str, ...], ...] = (
    (),
    ("system",),
    ("assistant",),
    ("system", "assistant"),
)
"""Roles whose messages are given to a template as plain text instead of a list of parts, in the
order of trial. Templates of Pixtral, Mistral and Llama 3.2 expect text for some roles."""
_LIST_AS_TEXT = "'type': 'text'"
"""In a rendered conversation: a template wrote a list of parts as Python does."""


@dataclass(frozen=True)
class Rendering:
    """The way in which a template takes conversations of one structure."""

    text_roles: tuple[str, ...] = ()
    """Roles whose messages the template takes as plain text only."""
    problem: str = ""
    """Description of the parts that do not reach the prompt, or of the template's error; empty
    if every part arrives."""
    refused: bool = False
    """Whether the template raises an error."""


def conversation(example: Example) -> list[Message]:
    """The example as a conversation in the format of transformers' chat templates."""
    messages: list[Message] = []
    if example.system:
        messages.append({"role": "system", "content": [{"type": "text", "text": example.system}]})
    for turn in example.demonstrations:
        messages.append(_user_message(turn.query, turn.pictures))
        response = [{"type": "text", "text": turn.response}]
        messages.append({"role": "assistant", "content": response})
    return [*messages, _user_message(example.query, example.pictures)]


def _user_message(query: str, pictures: Sequence[Picture]) -> Message:
    images = [{"type": "image", "image": picture()} for picture in pictures]
    return {"role": "user", "content": [*images, {"type": "text", "text": query}]}


def require_arrival(vlm: VLM, example: Example) -> None:
    """Raise CalibError (unsupported) unless the chat template shows every part of the example to
    the model."""
    problem = arrival_problem(vlm, example)
    if not problem:
        return
    advice = "Give another model.chat_template."
    if example.system and not arrival_problem(vlm, replace(example, system=None)):
        advice = (
            "Give model.system_place=user, which puts system prompts before the first query, or, "
            "for a method's text, method.place=before."
        )
    raise CalibError("unsupported", f"{problem}, in example '{example.id}'. {advice}")


def arrival_problem(vlm: VLM, example: Example) -> str:
    """The parts of the example that the chat template leaves out, or the error that it raises; ""
    if every part reaches the model. No picture is opened."""
    found = rendering(
        vlm, conversation(map_pictures(as_shown(vlm, example), lambda picture: _blank))
    )
    says = f"refuses the prompt ({found.problem})" if found.refused else found.problem
    return f"the chat template of {vlm.checkpoint} {says}" if found.problem else ""


def as_shown(vlm: VLM, example: Example) -> Example:
    """The example with its system prompt where model.system_place puts it, and with pictures of at
    most ``vlm.max_pixels``."""
    most = vlm.max_pixels
    if most is not None:
        example = map_pictures(example, lambda picture: partial(scaled_down, picture, most))
    return example.with_system_in_query() if vlm.system_place == "user" else example


@functools.cache
def _blank() -> Image.Image:
    return Image.new("RGB", (8, 8))


def rendering(vlm: VLM, conversation: Sequence[Message]) -> Rendering:
    """The way in which the chat template takes conversations of this structure, cached."""
    key = _key(vlm, conversation)
    if key not in vlm.renderings:
        vlm.renderings[key] = _rendering(vlm, conversation)
    return vlm.renderings[key]


def _rendering(vlm: VLM, conversation: Sequence[Message]) -> Rendering:
    tried: list[Rendering] = []
    for roles in TEXT_ROLES:
        if not set(roles) <= {message["role"] for message in conversation}:
            continue
        try:
            problem = _left_out(vlm, as_text(_with_stand_ins(conversation), roles))
        except PROCESSOR_ERRORS as error:
            said = str(error).strip().rstrip(".") or type(error).__name__
            tried.append(Rendering(roles, said, refused=True))
            continue
        if not problem:
            return Rendering(roles)
        tried.append(Rendering(roles, problem))
    return min(tried, key=lambda rendering: rendering.refused)


def _left_out(vlm: VLM, conversation: Sequence[Message]) -> str:
    """Description of the parts that the template drops or reorders; empty if there are none."""
    text = render(vlm, conversation)
    found = [(role, text.find(word)) for role, word in _texts(conversation)]
    if _LIST_AS_TEXT in text or ("system", -1) in found:
        return "leaves out system messages"
    places = [place for role, place in found if role != "system"]
    if -1 in places[:-1]:
        return "leaves out earlier turns of a conversation"
    if -1 in places:
        return "leaves out the query"
    if places != sorted(places):
        return "changes the order of the turns of a conversation"
    pictures = [
        (k, n)
        for k, message in enumerate(conversation)
        for n, part in enumerate(message["content"])
        if isinstance(part, dict) and part["type"] != "text"
    ]
    # Some processors place the pictures themselves.
    if pictures and render(vlm, _without(conversation, pictures)) != text:
        for picture in pictures if len(pictures) > 1 else ():
            if render(vlm, _without(conversation, [picture])) == text:
                return f"leaves out a picture ({len(pictures)} pictures are shown)"
    return ""


def render(vlm: VLM, conversation: Sequence[Message]) -> str:
    """The conversation as text. Raises TemplateError where it takes too long or is too long."""
    return rendered(
        vlm.processor.chat_template,
        sum(len(text) for _, text in _texts(conversation)),
        lambda: vlm.processor.apply_chat_template(
            list(conversation), add_generation_prompt=True, tokenize=False, **vlm.template_kwargs
        ),
    )


def _with_stand_ins(conversation: Sequence[Message]) -> list[Message]:
    """The conversation with a word of its own in place of each text."""
    return [
        {
            **message,
            "content": [
                {"type": "text", "text": f"text{k}of{n}"} if part["type"] == "text" else part
                for n, part in enumerate(message["content"])
            ],
        }
        for k, message in enumerate(conversation)
    ]


def _texts(conversation: Sequence[Message]) -> Iterator[tuple[str, str]]:
    for message in conversation:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        yield from ((message["role"], part["text"]) for part in parts if part["type"] == "text")


def _without(conversation: Sequence[Message], parts: Sequence[tuple[int, int]]) -> list[Message]:
    """The conversation without some parts, given as the numbers of message and part."""
    return [
        message
        if isinstance(message["content"], str)
        else {
            **message,
            "content": [part for n, part in enumerate(message["content"]) if (k, n) not in parts],
        }
        for k, message in enumerate(conversation)
    ]


def as_text(conversation: Sequence[Message], roles: Sequence[str]) -> list[Message]:
    """The conversation with messages of ``roles`` as plain text instead of a list of parts."""
    return [
        {**message, "content": "\n".join(part["text"] for part in message["content"])}
        if message["role"] in roles
        else message
        for message in conversation
    ]


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
    known = len(tail.tokens)
    begin = (
        len(tokens) - known if list(tokens[len(tokens) - known :]) == tail.tokens else len(tokens)
    )
    for end in range(begin - 1, -1, -1):
        text = _text(vlm, tokens[end:])
        if tail.text.endswith(text):
            continue
        tail.tokens = list(tokens[end + 1 :])
        pictured = not set(vlm.image_token_ids).isdisjoint(tokens[end:])
        return end if text.endswith(tail.text) and not pictured else None
    return None


@dataclass
class Tail:
    """The part that a template puts after the query."""

    text: str
    tokens: list[int] = field(default_factory=list)
    """The tokens of the last prompt that are part of the text and nothing else."""


def _tail(vlm: VLM, conversation: Sequence[Message], process: Process) -> Tail | None:
    """What the template puts after the query; None if it cannot be told.

    PaliGemma's processor takes a conversation without an image only beside others with one.
    """
    key = _key(vlm, conversation)
    if key not in vlm.template_tails:
        try:
            first, second = (
                _text(vlm, process(vlm, [_with_query(conversation, text)])["input_ids"][0].tolist())
                for text in _STAND_INS
            )
        except PROCESSOR_ERRORS:
            vlm.template_tails[key] = None
            return None
        tail = os.path.commonprefix([first[::-1], second[::-1]])[::-1]
        found = first.removesuffix(tail).endswith(_STAND_INS[0]) and second.removesuffix(
            tail
        ).endswith(_STAND_INS[1])
        vlm.template_tails[key] = Tail(tail) if found else None
    return vlm.template_tails[key]


def _key(vlm: VLM, conversation: Sequence[Message]) -> tuple[Any, ...]:
    """The template, its variables, and the conversation's structure: roles and kinds of parts.
    Templates treat conversations of one structure alike."""
    structure = tuple(
        (message["role"], tuple(part["type"] for part in message["content"]))
        for message in conversation
    )
    return str(vlm.processor.chat_template), repr(vlm.template_kwargs), structure


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
