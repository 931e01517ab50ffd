"""Queries as people write them: texts, with or without pictures, and examples."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from calib.data.example import Example, Pair, Picture, with_pictures
from calib.data.images import read_image
from calib.util.errors import CalibError
from calib.util.field_types import wrong_field
from calib.util.files import home_expanded

OnePicture = Image.Image | str | Path
Shown = OnePicture | Sequence[OnePicture] | None
"""What a query shows: an image or the path of a file, a list of several, or nothing."""
Query = str | Example | tuple[str, Shown]
"""A query: its text, its text and what it shows, or an example."""

_QUERY = "Give a text, a calib.Example, or a tuple (text, picture)."
_CHAT = (
    "Give the text of the last message; system= is the system prompt, and demonstrations of a "
    "calib.Example are earlier turns."
)


def as_examples(
    queries: Sequence[Query],
    pictures: Sequence[Shown] | None = None,
    system: str | None = None,
    what: str = "queries",
) -> list[Example]:
    """The examples of several queries.

    ``pictures`` has an entry per query, and ``system`` is the system prompt; both are for queries
    that are texts, since an Example has its own. ``what`` names the queries in messages.

    Raises CalibError (invalid-value) for what is no query or no picture, and (mismatch) if there
    are not as many pictures as queries.
    """
    given = listed(queries, what, "texts, calib.Examples, or tuples (text, picture)")
    if system is not None and not isinstance(system, str):
        raise CalibError(
            "invalid-value", f"The system prompt is of type {type(system).__name__}. Give a text."
        )
    shown: list[Any]
    if pictures is None:
        shown = [None] * len(given)
    else:
        shown = listed(pictures, "pictures", "pictures, with None for a query without one")
    if len(shown) != len(given):
        raise CalibError(
            "mismatch",
            f"There are {len(shown)} pictures and {len(given)} queries. Give one picture per "
            "query, None for a query without a picture, or a list for one with several.",
        )
    return [
        _example(query, picture, system, number)
        for number, (query, picture) in enumerate(zip(given, shown, strict=True))
    ]


def listed(values: Any, what: str, of: str) -> list[Any]:
    """``values`` as a list. Raises CalibError unless they are several: a list, a tuple ..."""
    single = isinstance(values, str | bytes | Mapping | Example | Pair | Image.Image | Path)
    is_table = hasattr(values, "iterrows")  # a DataFrame, which iterates over its column names
    if single or is_table or not hasattr(values, "__iter__"):
        columns = " A column is one: table['query'].tolist(); table.to_csv(path) writes a table."
        raise CalibError(
            "invalid-value",
            f"The {what} are one {type(values).__name__}. Give a list of {of}."
            f"{columns if is_table else ''}",
        )
    return list(values)


def _example(query: Any, shown: Any, system: str | None, number: int) -> Example:
    if isinstance(query, tuple):
        if len(query) != 2 or shown is not None:
            raise CalibError(
                "invalid-value", f"Query {number} is a tuple of {len(query)} values. {_QUERY}"
            )
        query, shown = query
    if isinstance(query, Example):
        if shown is None:
            require_fields(query, f"Query {number}")
            return query
        raise CalibError(
            "conflicting-settings",
            f"Query {number} is a calib.Example, which has its own pictures. Omit its picture.",
        )
    if not isinstance(query, str):
        raise CalibError("invalid-value", f"Query {number} is {_kind(query)} {_QUERY}")
    several = shown if isinstance(shown, list | tuple) else [] if shown is None else [shown]
    example = Example(
        id=f"{number}/{re.sub(r'[^a-z0-9]+', '-', query.casefold())[:40]}",
        dataset="text_centric",
        variant="none",
        category="none",
        split="test",
        query=query,
        system=system,
    )
    return with_pictures(example, [_picture(picture) for picture in several])


def require_fields(example: Example | Pair, what: str) -> None:
    """Raise CalibError (invalid-value) for an example or a pair with a field of another type."""
    if problem := wrong_field(example):
        raise CalibError(
            "invalid-value",
            f"{what} is a calib.{type(example).__name__} with a wrong field: {problem}.",
        )


def _kind(query: Any) -> str:
    if isinstance(query, Mapping):
        return f"a dict, such as a message of a chat. {_CHAT}"
    if isinstance(query, list) and query and all(isinstance(each, Mapping) for each in query):
        return f"a list of dicts, such as the messages of a chat. {_CHAT}"
    if isinstance(query, Pair):
        return "a calib.Pair. Give its examples, pair.safe and pair.unsafe."
    if isinstance(query, list):
        return "a list; several queries are for generate_all."
    return f"of type {type(query).__name__}."


def _picture(picture: Any) -> Picture:
    if isinstance(picture, str) and (not picture.strip() or "://" in picture):
        what = "an empty text" if not picture.strip() else f"an address ({picture:.80})"
        raise CalibError(
            "invalid-value",
            f"A picture is {what}. Give the path of a file or a PIL image: nothing is downloaded. "
            "None is a query without a picture.",
        )
    if isinstance(picture, str | Path):
        picture = read_image(home_expanded(picture))
    if isinstance(picture, np.ndarray):
        raise CalibError(
            "invalid-value",
            "A picture is a numpy array, whose colours may have any order and range. Give "
            "PIL.Image.fromarray(array).",
        )
    if not isinstance(picture, Image.Image):
        raise CalibError(
            "invalid-value",
            f"A picture must be a PIL image or the path of a file, not {type(picture).__name__}.",
        )
    image = picture.convert("RGB")
    return lambda: image
