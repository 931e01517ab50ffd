"""Earlier turns of a conversation, as a table cell states them."""

from collections.abc import Mapping, Sequence
from typing import Any

from calib.data.example import Turn
from calib.util.errors import CalibError
from calib.util.reading import parse_json

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
_READ = ("role", "from", "content", "value")
_FORMS = (
    'Write a JSON list of messages that alternate, [{"role": "user", "content": "..."}, {"role": '
    '"assistant", "content": "..."}], or of pairs, [["query", "response"]].'
)


def turns_from_cell(cell: Any, where: str) -> tuple[Turn, ...]:
    """The earlier turns in a cell; () if it is empty.

    The cell is a list, or a list as JSON text: of messages with role and content, or from and value
    (human, gpt), alternately of the user and the assistant; or of pairs of a query and a response.
    ``where`` is its location, for the error message.

    Raises CalibError for any other value, for a turn without its response, and for a turn that is
    not plain text.
    """
    turns = _list(cell, where)
    if all(isinstance(turn, Sequence) and not isinstance(turn, str) for turn in turns):
        messages = [text for turn in turns for text in turn]
        whole = all(len(turn) == 2 for turn in turns)
    else:
        messages = [_content(message, k, where) for k, message in enumerate(turns)]
        whole = len(messages) % 2 == 0
    if not whole:
        there = "there is 1 text" if len(messages) == 1 else f"there are {len(messages)} texts"
        raise CalibError(
            "missing-value",
            f"{where}: each earlier query needs its response, and {there}. "
            f"The last query is in the column 'query'. {_FORMS}",
        )
    for text in messages:
        if not isinstance(text, str):
            raise CalibError(
                "unsupported",
                f"{where}: an earlier turn is {text!r:.80}, not plain text. Pictures are read from "
                "the columns image, image2, ... and belong to the last query.",
            )
    return tuple(
        Turn(query, response) for query, response in zip(messages[::2], messages[1::2], strict=True)
    )


def _list(cell: Any, where: str) -> list[Any]:
    if isinstance(cell, str) and cell.strip():
        try:
            cell = parse_json(cell)
        except ValueError as error:
            raise CalibError(
                "invalid-value", f"{where} is not valid JSON ({error}). {_FORMS}"
            ) from error
    if not cell or (isinstance(cell, str) and not cell.strip()) or cell != cell:  # NaN: empty
        return []
    if not isinstance(cell, list | tuple):
        raise CalibError("invalid-value", f"{where} is {cell!r:.80}, not a list. {_FORMS}")
    return list(cell)


def _content(message: Any, number: int, where: str) -> Any:
    """The text of a message; raises CalibError unless it is the one whose turn it is."""
    fields = message if isinstance(message, Mapping) else {}
    role = fields.get("role", fields.get("from"))
    expected = ("user", "assistant")[number % 2]
    if not isinstance(role, str) or _ROLES.get(role) != expected:
        system = " A system prompt belongs into the column 'system'." * (role == "system")
        raise CalibError(
            "invalid-value",
            f"{where}: message {number + 1} is {message!r:.80}, and one of the {expected} is "
            f"expected.{system} {_FORMS}",
        )
    for key, value in fields.items():
        if value and key not in _READ:
            raise CalibError(
                "unsupported",
                f"{where}: message {number + 1} has '{key}', which would not be read: an earlier "
                f"turn is text. Remove it. {_FORMS}",
            )
    return fields.get("content", fields.get("value"))
