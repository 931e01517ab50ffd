"""Words around a query: which ones, and where they stand."""

from dataclasses import replace
from typing import Any

from calib.config.prompts import Prompting
from calib.data.example import Example
from calib.interventions.intervention import Axis
from calib.models.load import AnyModel
from calib.util.errors import CalibError

PROMPT_AXIS = Axis("1 with the prompt, 0 without", signed=False, integer=True)


def prompt_text(config: Any, vlm: AnyModel, name: str = "text") -> str:
    """The text of that name: the user's own, or ours for this checkpoint.

    mini-internvl knows few words, so it has texts of its own.
    Raises CalibError when there is neither.
    """
    own = getattr(config, name, None)
    if own:
        return own
    for checkpoint in (vlm.checkpoint, "any"):
        found = config.texts.get(checkpoint, {}).get(name)
        if found:
            return found
    raise CalibError(f'method={config.name} has no words to say: give method.{name}="...".')


def check_prompt_strengths(config: Prompting) -> None:
    """Raise CalibError for a strength other than 0 and 1: a text is shown or not."""
    for strength in config.strengths:
        if strength not in (0, 1):
            raise CalibError(
                f"method.strengths: {strength:g} means nothing for method={config.name}, whose "
                "text is shown (1) or not (0)."
            )


def add_text(example: Example, text: str, place: str) -> Example:
    """The example with a text in its system prompt, before or after its query."""
    if place == "system":
        return replace(example, system=f"{example.system}\n{text}" if example.system else text)
    parts = (text, example.query) if place == "before" else (example.query, text)
    return replace(example, query="\n".join(parts))
