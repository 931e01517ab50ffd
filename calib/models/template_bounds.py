"""Bounds on chat templates, which are code of whoever made the checkpoint.

The sandbox of transformers keeps a template away from files and modules, and bounds a single range,
but neither loops within loops nor the length of the text.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, TemplateError

from calib.util.time_limit import time_limit

SECONDS = 10.0
"""Most time to render a conversation, which takes templates some milliseconds."""
CHARACTERS, FACTOR = 1_000_000, 16
"""Most text to render a conversation to: CHARACTERS, and FACTOR times the text in it."""


def rendered(template: Any, length: int, apply: Callable[[], Any]) -> str:
    """The text that ``apply`` makes by ``template`` of a conversation with ``length`` characters.

    Raises TemplateError for a template with a power, or one that takes too long or makes too much.
    """
    require_no_power(template)
    try:
        with time_limit(SECONDS):
            text = apply()
    except TimeoutError as error:
        raise TemplateError(f"it is {error}: a loop may have no end") from error
    if not isinstance(text, str):
        raise TemplateError(f"it makes no text, but {type(text).__name__}")
    if len(text) > CHARACTERS + FACTOR * length:
        raise TemplateError(f"it makes {len(text):,} characters from a conversation of {length:,}")
    return text


def require_no_power(template: Any) -> None:
    """Raise TemplateError for a chat template (or several by name) that raises a number to a power:
    10**10**10 takes hours in one step, even when it is compiled, and no time limit ends a step."""
    texts = template.values() if isinstance(template, Mapping) else [template]
    for text in texts:
        if isinstance(text, str) and "**" in text and _has_power(text):
            raise TemplateError("it raises a number to a power, which may take for ever")


@functools.lru_cache(64)
def _has_power(text: str) -> bool:
    return any(kind == "operator" and value == "**" for _, kind, value in Environment().lex(text))
