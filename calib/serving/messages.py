"""Read the messages of a request, with their inline images, as an example."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from calib.data.example import Example, Turn
from calib.serving.api_errors import APIError
from calib.serving.pictures import DEFAULT_LIMITS, InlineImage, PictureLimits, PictureReader

MAX_MESSAGES = 1024
MAX_PARTS = 256
"""Maximum number of content parts in a message."""
SYSTEM_ROLES = ("system", "developer")


@dataclass
class ChatTurn:
    """One message."""

    role: str
    text: str
    images: tuple[InlineImage, ...]
    param: str
    """Path of its content in the request, e.g. "messages[0].content"."""


@dataclass(frozen=True)
class Conversation:
    """The messages of a request as the model sees them."""

    example: Example
    images: list[InlineImage] = field(default_factory=list)
    prompt_hash: str = ""
    """SHA-256 of texts, images and their order. Requests with equal hashes share one prompt."""

    @property
    def pixels(self) -> int:
        """Pixels of all images together."""
        return sum(image.pixels for image in self.images)

    def decode_images(self, max_pixels: int | None) -> None:
        """Decode every image, scaled down to ``max_pixels`` unless that is None.

        Raises APIError for an image that cannot be read.
        """
        for image in self.images:
            image.decode(max_pixels)

    @property
    def texts(self) -> list[str]:
        """The system prompt, and the query and response of every turn."""
        turns = [
            text for turn in self.example.demonstrations for text in (turn.query, turn.response)
        ]
        return [self.example.system or "", *turns, self.example.query]


def parse_messages(messages: Any, limits: PictureLimits = DEFAULT_LIMITS) -> Conversation:
    """Read messages as an example with a system prompt, earlier turns and a query.

    Raises APIError for messages that an example cannot represent: roles in another order, images
    outside user turns, tools, pictures beyond the limits. Images of a turn come before its text, in
    their order; they are not decoded yet.
    """
    if not isinstance(messages, list) or not messages:
        raise APIError("messages must be a list with at least one message.", "messages")
    if len(messages) > MAX_MESSAGES:
        raise APIError(
            f"messages has {len(messages)} entries; the maximum is {MAX_MESSAGES}.",
            "messages",
            "too_many_messages",
        )
    reader = PictureReader(limits)
    turns = [
        _parse_message(message, f"messages[{k}]", reader) for k, message in enumerate(messages)
    ]
    system = turns.pop(0).text if turns[0].role in SYSTEM_ROLES else None
    _require_alternation(turns)
    demonstrations = [
        Turn(user.text, assistant.text, *_first_and_others(user.images))
        for user, assistant in zip(turns[:-1:2], turns[1:-1:2], strict=True)
    ]
    first, others = _first_and_others(turns[-1].images)
    example = Example(
        id="request",
        dataset="request",
        variant="request",
        category="request",
        split="test",
        query=turns[-1].text,
        picture=first,
        more_pictures=others,
        system=system,
        demonstrations=tuple(demonstrations),
    )
    conversation = Conversation(example, reader.images)
    return replace(conversation, prompt_hash=_prompt_hash(conversation))


def _prompt_hash(conversation: Conversation) -> str:
    digest = hashlib.sha256()
    example = conversation.example
    images_of_turns = [len(turn.pictures) for turn in example.demonstrations]
    images_of_turns.append(len(example.pictures))
    parts = [repr((images_of_turns, example.system is None)).encode()]
    parts += [text.encode() for text in conversation.texts]
    parts += [image.digest for image in conversation.images]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _require_alternation(turns: Sequence[ChatTurn]) -> None:
    """Raise APIError unless user and assistant alternate, with the user first and last."""
    for k, turn in enumerate(turns):
        expected = ("user", "assistant")[k % 2]
        if turn.role != expected:
            if turn.role in SYSTEM_ROLES:
                reason = "only one system message is allowed, as the first message"
            else:
                reason = f"user and assistant must alternate, so '{expected}' is expected here"
            raise APIError(
                f"{turn.param} has the role '{turn.role}'; {reason}.",
                turn.param,
                "invalid_messages",
            )
    if not turns or turns[-1].role != "user":
        raise APIError(
            "The last message must have the role 'user'.", "messages", "invalid_messages"
        )


def _parse_message(message: Any, param: str, reader: PictureReader) -> ChatTurn:
    if not isinstance(message, dict):
        raise APIError(f"{param} must be an object with role and content.", param)
    role = message.get("role")
    if role not in (*SYSTEM_ROLES, "user", "assistant"):
        given = f"is '{role[:40]}'" if isinstance(role, str) else "is missing or not a string"
        raise APIError(
            f"{param}.role {given}. Choose from system, developer, user, assistant; tools are not "
            "supported.",
            f"{param}.role",
        )
    for key in ("tool_calls", "function_call", "audio"):
        if message.get(key):
            raise APIError(
                f"{param}.{key} is not supported.", f"{param}.{key}", "unsupported_value"
            )
    param = f"{param}.content"
    content = message.get("content")
    if content is None and role == "assistant":
        # Clients repeat an empty response so, and a refusal as OpenAI's API returns it.
        content = message.get("refusal") or ""
    if isinstance(content, str):
        return ChatTurn(role, _text(content, param), (), param)
    if not isinstance(content, list) or not content:
        raise APIError(f"{param} must be a string or a list of parts.", param)
    if len(content) > MAX_PARTS:
        raise APIError(f"{param} has {len(content)} parts; the maximum is {MAX_PARTS}.", param)
    return _parse_parts(role, content, param, reader)


def _parse_parts(role: str, parts: Sequence[Any], param: str, reader: PictureReader) -> ChatTurn:
    texts: list[str] = []
    images: list[InlineImage] = []
    for k, part in enumerate(parts):
        path = f"{param}[{k}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(_text(part.get("text"), f"{path}.text"))
        elif kind == "refusal" and role == "assistant":
            texts.append(_text(part.get("refusal"), f"{path}.refusal"))
        elif kind == "image_url":
            if role != "user":
                raise APIError(
                    f"{path} is an image in a message with the role '{role}'; only user messages "
                    "may contain images.",
                    path,
                    "invalid_messages",
                )
            source = part.get("image_url")
            url = source.get("url") if isinstance(source, dict) else source
            images.append(reader.read(url, f"{path}.image_url.url"))
        else:
            given = f"is '{kind[:40]}'" if isinstance(kind, str) else "is missing or not a string"
            raise APIError(
                f"{path}.type {given}. Choose from text, image_url.",
                f"{path}.type",
                "unsupported_value",
            )
    return ChatTurn(role, "\n".join(texts), tuple(images), param)


def _first_and_others(
    images: tuple[InlineImage, ...],
) -> tuple[InlineImage | None, tuple[InlineImage, ...]]:
    return (images[0], images[1:]) if images else (None, ())


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise APIError(f"{param} must be a string.", param, "invalid_type")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise APIError(
            f"{param} contains half of a surrogate pair, which is not a character.", param
        ) from error
    return value
