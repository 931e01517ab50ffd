"""Texts of prompt-based methods, and their place in the prompt."""

import re
from dataclasses import replace
from typing import Any

from calib.config.prompts import Prompting
from calib.data.example import Example
from calib.interventions.intervention import Axis
from calib.models.load import AnyModel
from calib.util.errors import CalibError

PROMPT_AXIS = Axis("1 with the prompt, 0 without", signed=False, integer=True)


def prompt_text(config: Any, vlm: AnyModel, name: str = "text") -> str:
    """The text ``config.<name>``: the user's, or else the default for this checkpoint.

    Defaults are in ``config.texts`` by checkpoint; "any" serves all other checkpoints.
    mini-internvl has a small vocabulary, so it has texts of its own.
    Raises CalibError (missing-setting) if there is neither.
    """
    text = getattr(config, name, None)
    if text:
        return text
    for checkpoint in (vlm.checkpoint, "any"):
        default = config.texts.get(checkpoint, {}).get(name)
        if default:
            return default
    raise CalibError(
        "missing-setting",
        f"method={config.name} has no default text for this model. "
        f'Give one with method.{name}="...".',
    )


def fill(text: str, **values: str) -> str:
    """The text with ``{name}`` replaced by the value of that name.

    Unlike str.format, this leaves unknown names and braces inside of the values as they are.
    """
    return re.sub(r"\{(\w+)\}", lambda field: values.get(field[1], field[0]), text)


def check_prompt_strengths(config: Prompting) -> None:
    """Raise CalibError (invalid-setting) for a strength other than 0 and 1."""
    for strength in config.strengths:
        if strength not in (0, 1):
            raise CalibError(
                "invalid-setting",
                f"method.strengths: method={config.name} takes the strengths 0 (without its text) "
                f"and 1 (with it), not {strength:g}.",
            )


def add_text(example: Example, text: str, place: str) -> Example:
    """The example with a text in its system prompt, or before or after its query."""
    if place == "system":
        return replace(example, system=f"{example.system}\n{text}" if example.system else text)
    parts = (text, example.query) if place == "before" else (example.query, text)
    return replace(example, query="\n".join(parts))
