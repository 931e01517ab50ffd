"""Prompts that do not fit the model's context, found without encoding a picture.

The number of tokens of a prompt depends on its texts and on the sizes of its pictures, not on what
they show. Nearly all prompts are far below the limit, and a bound says so: a text has at most one
token per byte, and a picture of one size always has the same number of tokens. Only a prompt whose
bound exceeds the limit is tokenized, with blank pictures of the same sizes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from PIL import Image

from calib.data.example import Example, Picture, with_pictures
from calib.data.images import picture_size
from calib.interventions.intervention import Method, PromptFlow
from calib.models.chat_template import PROCESSOR_ERRORS
from calib.models.load import VLM
from calib.models.tokens import token_count

Size = tuple[int, int]
"""Width and height of a picture, in pixels."""
_SIZES: tuple[Size, ...] = ((32, 32), (640, 480), (300, 1200), (1600, 1600))
"""Sizes that show whether the number of tokens of a picture depends on its size. The first has the
fewest tokens."""
_FILLER = " the"
"""A text of one token in common vocabularies: a response of n tokens is n of these."""
_SLACK = 16
"""Tokens that vocabularies may add to a text, such as one for its beginning."""
_STEPS = 6
"""Most steps of a prompt flow that are followed."""


@dataclass(frozen=True)
class OverLong:
    """An example with a prompt that leaves no room for its response."""

    example: Example
    tokens: int
    """Number of tokens of the prompt."""
    method: str
    """Name of the method that sends it; empty for the example itself."""

    def __str__(self) -> str:
        by = f" ({self.method})" if self.method else ""
        return f"example '{self.example.id}'{by}: {self.tokens:,} tokens"


class PromptLengths:
    """Numbers of tokens of the prompts of one model."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        self._pictures: dict[Size, int] = {}
        self._structures: dict[Any, int | None] = {}
        self._depends_on_size: bool | None = None
        self._sizes_read: dict[int, tuple[Picture, Size]] = {}  # by id(); holds the picture alive

    def above(self, example: Example, limit: int) -> int | None:
        """Number of tokens of the example's prompt if it is above ``limit``, else None.

        Also None for a prompt that the processor does not support: reading it says why.
        """
        if self.bound(example) <= limit:
            return None
        length = self._exact(_with_blanks(example, self._sizes(example)))
        return length if length is not None and length > limit else None

    def bound(self, example: Example) -> int:
        """A number of tokens that the example's prompt does not exceed; 0 if the processor does not
        support such a prompt."""
        overhead = self._overhead(example)
        if overhead is None:
            return 0
        pictures = sum(map(self._picture, self._sizes(example)))
        return overhead + sum(map(_bytes, _texts(example))) + pictures + _SLACK

    def largest(self, examples: Sequence[Example]) -> Example:
        """An example with the longest query, the longest system prompt and the pictures of the
        most tokens among ``examples``."""
        query = max((example.query for example in examples), key=_bytes)
        system = max((example.system or "" for example in examples), key=_bytes)
        shown = max(examples, key=lambda e: sum(map(self._picture, self._sizes(e))))
        return replace(
            with_pictures(examples[0], shown.pictures), query=query, system=system or None
        )

    def _exact(self, example: Example) -> int | None:
        try:
            return token_count(self.vlm, example)
        except PROCESSOR_ERRORS:
            return None

    def _overhead(self, example: Example) -> int | None:
        """Tokens of the chat template and of words in place of the texts of such an example."""
        turns = [len(turn.pictures) for turn in example.demonstrations]
        structure = (bool(example.system), len(example.pictures), *turns)
        if structure not in self._structures:
            smallest = [_SIZES[0]] * len(_pictures(example))
            length = self._exact(_with_blanks(_short(example), smallest))
            tokens = sum(map(self._picture, smallest))
            self._structures[structure] = None if length is None else max(length - tokens, 0)
        return self._structures[structure]

    def _sizes(self, example: Example) -> list[Size]:
        """Sizes of the example's pictures, in order; any where the tokens do not depend on it."""
        shown = _pictures(example)
        if shown and self._depends_on_size is None:
            self._depends_on_size = len({self._picture(size) for size in _SIZES}) > 1
        if not self._depends_on_size:
            return [_SIZES[0]] * len(shown)
        return [self._size(picture) for picture in shown]

    def _size(self, picture: Picture) -> Size:
        if id(picture) not in self._sizes_read:
            self._sizes_read[id(picture)] = (picture, picture_size(picture))
        return self._sizes_read[id(picture)][1]

    def _picture(self, size: Size) -> int:
        """Number of tokens that a picture of this size adds to a prompt."""
        if size not in self._pictures:
            word = Example("", "", "", "", "test", "a", picture=partial(_blank, size))
            without = self._exact(replace(word, picture=None)) or 0
            self._pictures[size] = max((self._exact(word) or 0) - without, 0)
        return self._pictures[size]


def over_long(
    lengths: PromptLengths,
    examples: Sequence[Example],
    max_new_tokens: int,
    flows: Sequence[tuple[str, PromptFlow]] = (),
) -> list[OverLong]:
    """The examples one of whose prompts leaves no room for ``max_new_tokens`` in the context.

    ``flows`` are the prompt flows of the run with the name of their method; without any, the
    examples themselves are the prompts. Steps that depend on earlier responses are taken at their
    longest.
    """
    context = lengths.vlm.context_length
    if context is None:
        return []
    limit, response = context - max_new_tokens, (_FILLER * max_new_tokens).strip()

    def prompts(example: Example) -> Iterator[tuple[str, Example]]:
        if not flows:
            yield "", example
        for name, flow in flows:
            for prompt in flow_prompts(flow, example, response):
                yield name, prompt

    found = []
    for group in _alike(examples):
        # A run may have hundreds of flows: if the largest prompts of a group fit, all do.
        largest = lengths.largest(group)
        if all(lengths.bound(prompt) <= limit for _, prompt in prompts(largest)):
            continue
        for example in group:
            for name, prompt in prompts(example):
                if (length := lengths.above(prompt, limit)) is not None:
                    found.append(OverLong(example, length, name))
                    break
    return found


def _alike(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples in groups to which a prompt flow adds the same; in order within a group."""
    groups: dict[Any, list[Example]] = {}
    for example in examples:
        shape = (example.dataset, example.variant, bool(example.system), len(example.pictures))
        own = id(example) if example.demonstrations or example.response_prefix else None
        groups.setdefault((*shape, own), []).append(example)
    return list(groups.values())


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def flows_of(method: Method, strengths: Sequence[float]) -> list[tuple[str, PromptFlow]]:
    """The prompt flows of a method at some strengths, with its name."""
    settings = (method.setting(method.layers[0], strength) for strength in strengths)
    flows = (setting.intervention.prompt_flow for setting in settings)
    return [(method.name, flow) for flow in {id(flow): flow for flow in flows if flow}.values()]


def flow_prompts(flow: PromptFlow, example: Example, response: str) -> Iterator[Example]:
    """Every prompt of a flow if each of its responses is ``response`` or "yes"."""
    paths: list[tuple[str, ...]] = [()]
    while paths:
        path = paths.pop()
        step = flow.next(example, path)
        if isinstance(step, int):
            continue
        yield step
        if flow.multi_step and len(path) + 1 < _STEPS:
            paths += [(*path, response), (*path, "yes")]


def _texts(example: Example) -> list[str]:
    turns = [text for turn in example.demonstrations for text in (turn.query, turn.response)]
    return [example.system or "", *turns, example.query, example.response_prefix]


def _short(example: Example) -> Example:
    """``example`` with a word in place of each text."""
    turns = tuple(replace(turn, query="a", response="a") for turn in example.demonstrations)
    return replace(
        example, system="a" if example.system else None, demonstrations=turns, query="a",
        response_prefix="",
    )  # fmt: skip


def _pictures(example: Example) -> list[Picture]:
    """The pictures of a prompt, in order."""
    earlier = [picture for turn in example.demonstrations for picture in turn.pictures]
    return [*earlier, *example.pictures]


def _with_blanks(example: Example, sizes: Sequence[Size]) -> Example:
    """``example`` with a blank picture of each of ``sizes`` in place of its pictures, in order."""
    blanks = iter([partial(_blank, size) for size in sizes])
    turns = []
    for turn in example.demonstrations:
        blank = tuple(next(blanks) for _ in turn.pictures)
        turns.append(replace(turn, picture=blank[0] if blank else None, more_pictures=blank[1:]))
    own = [next(blanks) for _ in example.pictures]
    return replace(with_pictures(example, own), demonstrations=tuple(turns))


def _blank(size: Size) -> Image.Image:
    return Image.new("RGB", size)
