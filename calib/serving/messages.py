"""The messages of a request, with inline images, as an example."""

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from calib.data.example import Example, Turn
from calib.data.images import FORMATS, read_image
from calib.serving.api_errors import APIError
from calib.util.errors import CalibError

_HEAD = re.compile(r"data:([a-z0-9.+/-]*)((?:;[a-z0-9_.=+-]+)*);base64,", re.IGNORECASE)
_LONGEST_HEAD = 200


class InlinePicture:
    """A picture that a request brought, kept as it came: small, and decoded when asked for."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data

    def __call__(self) -> Image.Image:
        assert self.data is not None, "nobody looks at a request that was answered"
        return read_image(io.BytesIO(self.data), "of the request")

    def let_go(self) -> None:
        """Free its memory, whoever still holds the example it belongs to."""
        self.data = None


def inline_picture(url: object, param: str) -> InlinePicture:
    """The picture in a data URL.

    Raises Refused for an address (nothing is fetched), bad base64, and what read_image refuses.
    """
    if not isinstance(url, str):
        raise APIError(f"{param} is not a text with a data URL.", param, "invalid_type")
    head = _HEAD.match(url[:_LONGEST_HEAD])
    if head is None:
        raise APIError(
            f"{param} is no data URL with base64: this server fetches nothing. Put the picture "
            "itself into the request, as data:image/png;base64,...",
            param,
            "invalid_image_url",
        )
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise APIError(f"{param} is no base64 ({error}).", param, "invalid_base64") from error
    picture = InlinePicture(data)
    try:
        picture()
    except CalibError as error:
        kinds = ", ".join(FORMATS)
        raise APIError(f"{error} Formats: {kinds}.", param, "invalid_image") from error
    except MemoryError as error:
        raise APIError(f"{param} does not fit into memory.", param, "invalid_image") from error
    return picture


MOST_MESSAGES = 1024
MOST_PARTS = 256
SYSTEM_ROLES = ("system", "developer")


@dataclass
class ChatTurn:
    """One message."""

    role: str
    text: str
    picture: InlinePicture | None
    param: str
    """Where it stands in the request."""


@dataclass(frozen=True)
class Conversation:
    """What a request shows to the model."""

    example: Example
    pictures: list[InlinePicture] = field(default_factory=list)
    looks: str = ""
    """Hash of what is shown: requests that look alike are read once."""

    @property
    def texts(self) -> list[str]:
        """Everything that is said in it."""
        turns = [
            text for turn in self.example.demonstrations for text in (turn.query, turn.response)
        ]
        return [self.example.system or "", *turns, self.example.query]


def conversation_of(messages: Any) -> Conversation:
    """The messages as an example: a system prompt, earlier turns, and the query.

    Raises Refused for what an example cannot hold: another order of roles, several pictures in one
    turn, pictures anywhere but in the user's turns, tools.
    """
    if not isinstance(messages, list) or not messages:
        raise APIError("messages is not a list with at least one message.", "messages")
    if len(messages) > MOST_MESSAGES:
        raise APIError(f"messages has {len(messages)} entries; at most {MOST_MESSAGES} are read.",
                      "messages", "too_many_messages")  # fmt: skip
    said = [_said(one, f"messages[{k}]") for k, one in enumerate(messages)]
    system = said.pop(0).text if said[0].role in SYSTEM_ROLES else None
    _require_turns(said)
    turns = [
        Turn(asked.text, answered.text, asked.picture)
        for asked, answered in zip(said[:-1:2], said[1:-1:2], strict=True)
    ]
    example = Example(
        id="request",
        dataset="request",
        variant="request",
        category="request",
        split="test",
        query=said[-1].text,
        picture=said[-1].picture,
        system=system,
        demonstrations=tuple(turns),
    )
    found = Conversation(example, [one.picture for one in said if one.picture is not None])
    return replace(found, looks=_looks(found))


def _looks(conversation: Conversation) -> str:
    digest = hashlib.sha256()
    example = conversation.example
    shown = [(turn.query, turn.picture) for turn in example.demonstrations]
    placed = [picture is not None for _, picture in [*shown, ("", example.picture)]]
    parts = [repr((placed, example.system is None)).encode()]
    parts += [text.encode() for text in conversation.texts]
    parts += [picture.data or b"" for picture in conversation.pictures]
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _require_turns(said: Sequence[ChatTurn]) -> None:
    """Raise Refused unless the user and the assistant speak in turn, the user first and last."""
    for k, one in enumerate(said):
        wanted = ("user", "assistant")[k % 2]
        if one.role != wanted:
            if one.role in SYSTEM_ROLES:
                why = "one system message can stand, at the beginning"
            else:
                why = f"user and assistant take turns, and the {wanted} is next"
            raise APIError(
                f"{one.param} has the role '{one.role}'; {why}.", one.param, "invalid_messages"
            )
    if not said or said[-1].role != "user":
        raise APIError("the last message is not the user's.", "messages", "invalid_messages")


def _said(message: Any, param: str) -> ChatTurn:
    if not isinstance(message, dict):
        raise APIError(f"{param} is not an object with role and content.", param)
    role = message.get("role")
    if role not in (*SYSTEM_ROLES, "user", "assistant"):
        shown = f"'{role[:40]}'" if isinstance(role, str) else "nothing that is a text"
        raise APIError(
            f"{param}.role is {shown}. Choose from system, developer, user, assistant; tools are "
            "not served.",
            f"{param}.role",
        )
    for key in ("tool_calls", "function_call", "audio"):
        if message.get(key):
            raise APIError(f"{param}.{key} is not served.", f"{param}.{key}", "unsupported_value")
    param = f"{param}.content"
    content = message.get("content")
    if isinstance(content, str):
        return ChatTurn(role, _text(content, param), None, param)
    if not isinstance(content, list) or not content:
        raise APIError(f"{param} is neither a text nor a list of parts.", param)
    if len(content) > MOST_PARTS:
        raise APIError(f"{param} has {len(content)} parts; at most {MOST_PARTS} are read.", param)
    return _of_parts(role, content, param)


def _of_parts(role: str, parts: Sequence[Any], param: str) -> ChatTurn:
    texts: list[str] = []
    picture: InlinePicture | None = None
    for k, part in enumerate(parts):
        at = f"{param}[{k}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(_text(part.get("text"), f"{at}.text"))
        elif kind == "image_url":
            if role != "user":
                raise APIError(
                    f"{at} is a picture in a message of the {role}; only the user shows pictures.",
                    at,
                    "invalid_messages",
                )
            if picture is not None:
                raise APIError(
                    f"{at} is a second picture in one turn, and a turn holds one here. Show them "
                    "in separate turns, or as one picture.",
                    at,
                    "too_many_images",
                )
            source = part.get("image_url")
            url = source.get("url") if isinstance(source, dict) else source
            picture = inline_picture(url, f"{at}.image_url.url")
        else:
            shown = f"'{kind[:40]}'" if isinstance(kind, str) else "no text"
            raise APIError(
                f"{at}.type is {shown}. Choose from text, image_url.", f"{at}.type",
                "unsupported_value",
            )  # fmt: skip
    return ChatTurn(role, "\n".join(texts), picture, param)


def _text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise APIError(f"{param} is not a text.", param, "invalid_type")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise APIError(
            f"{param} holds half of a surrogate pair, which is no character.", param
        ) from error
    return value
