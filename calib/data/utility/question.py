"""From a row to a question: options, prompt, metadata, and the tally of what is left out."""

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark, Example, Picture, split_of
from calib.data.images import PictureBytes, PictureFile
from calib.util.errors import CalibError

_LONGEST = 20_000
"""Characters of a cell with options: what is longer is not one."""


class Questions:
    """The questions of a set, as they are read, and why others were left out."""

    def __init__(self, config: PublishedUtility, system: str | None) -> None:
        self.config, self.system = config, system
        self._examples: list[Example] = []
        self._left_out: Counter[str] = Counter()

    def add(
        self,
        key: str,
        variant: str,
        category: str,
        asked: str,
        answer: str,
        metadata: Mapping[str, str],
        picture: Picture | None,
        pair: str | None = None,
    ) -> None:
        """A question; ``key`` is unique in the set, ``pair`` the picture that several share."""
        name = self.config.name
        id = f"{name}/{key}"
        pair = None if pair is None else f"{name}/{pair}"
        self._examples.append(
            Example(
                id=id,
                dataset="utility",
                variant=variant,
                category=category,
                split=split_of(pair or id, 0.0, self.config.validation),
                query=_with_prompt(asked, self.config.prompt),
                picture=picture,
                pair=pair,
                answer=answer,
                metadata=metadata,
                system=self.system,
            )
        )

    def leave_out(self, reason: str) -> None:
        """Count a question that is not asked; ``reason`` follows "were left out:"."""
        self._left_out[reason] += 1

    def benchmark(self) -> Benchmark:
        """All of them. Raises CalibError where none is left."""
        total = len(self._examples) + self._left_out.total()
        notes = [
            f"{self.config.name}: {count} of {total} questions were left out: {reason}"
            for reason, count in self._left_out.items()
        ]
        if not self._examples:
            said = "; ".join(notes) or "the tables have no rows"
            raise CalibError(
                f"utility={self.config.name}: no question is left ({said}). Choose another split "
                "or subset, or look at the table."
            )
        return Benchmark(self._examples, notes)


UNKNOWN_ANSWER = "their answer is none of the options"
NO_YES_NO = "their answer is neither yes nor no"
YES_NO: Mapping[str, str] = {"kind": "yes_no"}


def yes_no(cell: Any) -> str | None:
    """The answer in a cell, in small letters; None where it is neither yes nor no."""
    said = text(cell).rstrip(".").casefold()
    return said if said in ("yes", "no") else None


def choice(options: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a question with options, texts by letter."""
    return {"kind": "choice", "options": json.dumps(dict(options), ensure_ascii=False)}


def lettered(texts: Sequence[str]) -> dict[str, str]:
    """Options with the letters A, B ... in their order.

    Raises CalibError for more than the alphabet has.
    """
    if len(texts) > len(ascii_uppercase):
        raise CalibError(f"A question has {len(texts)} options, more than there are letters.")
    return dict(zip(ascii_uppercase, texts, strict=False))


def listed(options: Mapping[str, str]) -> str:
    """Options as a model reads them, one a line."""
    return "\n".join(f"{letter}. {words}" for letter, words in options.items())


def list_in(cell: Any, where: str) -> list[str]:
    """The texts in a cell that holds a list, or a list written as text: "['a', 'b']".

    Raises CalibError for anything else.
    """
    found = cell
    if isinstance(cell, str):
        try:
            found = ast.literal_eval(cell.strip()) if len(cell) <= _LONGEST else None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            found = None
    if not isinstance(found, list | tuple) or not all(
        isinstance(one, str | int | float) for one in found
    ):
        shown = str(cell)
        raise CalibError(
            f"{where} holds no list of options but {shown[:80]!r}. Write it as ['first', 'second']."
        )
    return [text(one) for one in found]


def text(cell: Any) -> str:
    """A cell as text, line breaks kept; "" where it is empty."""
    return "" if cell is None else str(cell).strip()


def is_empty(picture: PictureFile | PictureBytes | None) -> bool:
    """Whether a cell holds no picture at all; one that cannot be had is not empty."""
    if not isinstance(picture, PictureBytes):
        return picture is None
    try:
        return not picture.fetch()
    except CalibError:
        return False


def _with_prompt(asked: str, prompt: str | None) -> str:
    if not prompt:
        return asked
    return asked + (prompt if prompt[0].isspace() else f"\n{prompt}")
