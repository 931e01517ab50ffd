"""Build utility questions from table rows: options, prompts, metadata and the count of skips."""

import ast
import io
import itertools
import json
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from calib.config.data import PublishedUtility
from calib.data.audit.rows import repeat_note, size_note
from calib.data.example import Benchmark, Example, Picture
from calib.data.images import PictureBytes, PictureFile
from calib.data.splits import split_of
from calib.util.errors import CalibError

_MAX_OPTIONS_LENGTH = 20_000
"""Characters of a cell with options; a longer cell is not parsed."""


class Questions:
    """Collects the questions of a set and counts those that are skipped, by reason."""

    def __init__(self, config: PublishedUtility, system: str | None) -> None:
        self.config, self.system = config, system
        self.notes: list[str] = []
        """Notes on how the tables were read."""
        self._examples: list[Example] = []
        self._skipped: Counter[str] = Counter()
        self._outside = 0

    def add(
        self,
        key: str,
        variant: str,
        category: str,
        question: str,
        answer: str,
        metadata: Mapping[str, str],
        picture: Picture | None,
        pair: str | None = None,
        more_pictures: Sequence[Picture] = (),
        concept: str | None = None,
    ) -> None:
        """Add a question; ``key`` is unique in the set, ``pair`` is shared by the questions about a
        picture, and ``concept`` by those about a thing."""
        name = self.config.name
        id = f"{name}/{key}"
        pair = None if pair is None else f"{name}/{pair}"
        self._examples.append(
            Example(
                id=id,
                dataset="utility",
                variant=variant,
                category=category,
                split=split_of(concept or pair or id, 0.0, self.config.validation),
                query=_append_prompt(question, self.config.prompt),
                picture=picture,
                pair=pair,
                concept=concept,
                answer=answer,
                metadata=metadata,
                system=self.system,
                more_pictures=tuple(more_pictures),
            )
        )

    def skip(self, reason: str, outside: bool = False) -> None:
        """Count a skipped question; the note gives ``reason`` after "because".

        ``outside`` marks a row that is not part of the published set, such as one of another split.
        """
        self._skipped[reason] += 1
        self._outside += outside

    def is_complete(self, question: str, picture: Picture | None, where: str) -> bool:
        """Whether a row at ``where`` has a question and a picture; if not, see skip_incomplete."""
        if question and picture is not None:
            return True
        self.skip_incomplete(question, where)
        return False

    def skip_incomplete(self, question: str, where: str) -> None:
        """Count a row without question, or else without picture, as skipped.

        Raises CalibError unless utility.skip_broken is set; ``where`` is the location of the row.
        """
        if not self.config.skip_broken:
            missing = "picture" if question else "question"
            raise CalibError(
                "missing-value",
                f"{where} has no {missing}. Complete the row, or skip such rows with "
                "utility.skip_broken=true.",
            )
        self.skip(NO_PICTURE if question else "they are empty")

    def benchmark(self, published: int | None) -> Benchmark:
        """All questions, with notes on skipped ones, on repeats, and on a number that differs from
        the ``published`` one (None if that is not known). Raises CalibError if there are none.
        """
        total = len(self._examples) + self._skipped.total()
        notes = self.notes + [
            f"{self.config.name}: skipped {count} of {total} questions, because {reason}"
            for reason, count in self._skipped.items()
        ]
        if not self._examples:
            raise CalibError(
                "too-few",
                f"utility={self.config.name} has no usable question "
                f"({'; '.join(notes) or 'the tables have no rows'}). Check the table, "
                "and that utility.split names the split that you mean.",
            )
        notes += size_note(total - self._outside, published, self.config.name, "questions")
        return Benchmark(self._examples, notes + repeat_note(self._examples, self.config.name))


UNKNOWN_ANSWER = "their answer is not one of the options"
NO_PICTURE = "they have no picture"
NOT_YES_NO = "their answer is neither yes nor no"
YES_NO: Mapping[str, str] = {"kind": "yes_no"}


def parse_yes_no(cell: Any) -> str | None:
    """The answer in a cell as "yes" or "no"; None if it is neither."""
    answer = "" if cell is None else str(cell).strip().rstrip(".").casefold()
    return answer if answer in ("yes", "no") else None


def choice_metadata(options: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a multiple-choice question; ``options`` are texts by letter."""
    return {"kind": "choice", "options": json.dumps(dict(options), ensure_ascii=False)}


def letter_options(texts: Sequence[str], where: str) -> dict[str, str]:
    """Options by letter: A, B, ... in order.

    Raises CalibError for fewer than two options, and for more options than letters; ``where`` is
    the location of their cell.
    """
    if len(texts) < 2:
        raise CalibError(
            "too-few",
            f"{where} has {len(texts)} option{'s' * (len(texts) != 1)}: {list(texts)!r:.80}. A "
            "choice needs at least two. Complete the cell, or remove the row.",
        )
    if len(texts) > len(ascii_uppercase):
        raise CalibError(
            "too-large",
            f"{where} has {len(texts)} options; the limit is {len(ascii_uppercase)}.",
        )
    return dict(zip(ascii_uppercase, texts, strict=False))


def format_options(options: Mapping[str, str]) -> str:
    """Options as shown to the model, one per line."""
    return "\n".join(f"{letter}. {text}" for letter, text in options.items())


def parse_options(cell: Any, where: str) -> list[str]:
    """The options in a cell that holds a list, or a list written as text: "['a', 'b']".

    numpy writes a list without commas, "['a' 'b']", which Python reads as one text: it is refused.

    Raises CalibError for any other value; ``where`` is the location of the cell.
    """
    options = cell
    if isinstance(cell, str):
        try:
            options = ast.literal_eval(cell.strip()) if len(cell) <= _MAX_OPTIONS_LENGTH else None
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            options = None
        if options is not None and _has_adjacent_texts(cell):
            raise CalibError(
                "invalid-value",
                f"{where} has options without commas between them: {cell[:80]!r}. numpy and pandas "
                "write lists that way. Write it as ['first', 'second'].",
            )
    if not isinstance(options, list | tuple) or not all(
        isinstance(option, str | int | float) for option in options
    ):
        raise CalibError(
            "invalid-value",
            f"{where} is not a list of options: {str(cell)[:80]!r}. Write it as "
            "['first', 'second'].",
        )
    return [str(option).strip() for option in options]


def _has_adjacent_texts(cell: str) -> bool:
    """Whether two quoted texts of a cell stand side by side without a comma."""
    kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(cell.strip()).readline)]
    kinds = [kind for kind in kinds if kind != tokenize.NL]
    return (tokenize.STRING, tokenize.STRING) in itertools.pairwise(kinds)


def is_empty(picture: PictureFile | PictureBytes | None) -> bool:
    """Whether a cell contains no picture; a picture that cannot be fetched is not empty."""
    if not isinstance(picture, PictureBytes):
        return picture is None
    try:
        return not picture.fetch()
    except CalibError:
        return False


def _append_prompt(question: str, prompt: str | None) -> str:
    if not prompt:
        return question
    return question + (prompt if prompt[0].isspace() else f"\n{prompt}")
