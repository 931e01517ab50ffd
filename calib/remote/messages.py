"""An example as the messages of a chat: what a local model's chat template makes of it.

The system prompt is a system message, demonstrations are user and assistant messages in turn, each
with its own picture, and the query is the last user message, behind its picture.
"""

import base64
import io
import threading
from typing import Any

from calib.data.example import Example, Picture
from calib.errors import CalibError

NO_ANSWER = "(no answer)"
"""Stands for an empty response in an earlier turn: endpoints refuse messages without text."""
_DRAWING = threading.Lock()
"""Pictures of others are read from files that know one reader."""


def messages_of(example: Example, side: int) -> list[dict[str, Any]]:
    """The messages of ``example``, its pictures at most ``side`` pixels long.

    Raises CalibError where its response already begins, which no endpoint can be told.
    """
    if example.begun:
        raise CalibError(
            f"the response to example '{example.id}' is to go on from given words, and a remote "
            "model cannot be told how its response begins. Use a model with weights."
        )
    found: list[dict[str, Any]] = []
    if example.system:
        found.append({"role": "system", "content": example.system})
    for turn in example.demonstrations:
        found.append(_user(turn.query, turn.picture, side))
        said = turn.response if turn.response.strip() else NO_ANSWER
        found.append({"role": "assistant", "content": said})
    return [*found, _user(example.query, example.picture, side)]


def _user(text: str, picture: Picture | None, side: int) -> dict[str, Any]:
    if picture is None:
        return {"role": "user", "content": text}
    image = {"type": "image_url", "image_url": {"url": data_url(picture, side)}}
    return {"role": "user", "content": [image, {"type": "text", "text": text}]}


def data_url(picture: Picture, side: int) -> str:
    """A picture as the URL of a PNG, its longer side at most ``side`` pixels."""
    with _DRAWING:
        image = picture().convert("RGB")
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
