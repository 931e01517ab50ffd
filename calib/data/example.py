"""An example (one query about one picture), a contrastive pair, and the parts of a benchmark."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from PIL import Image

from calib.data.text_image import PERTURBATIONS

Safety = Literal["safe", "unsafe"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Picture = Callable[[], Image.Image]
"""Pictures are made when asked for, so that a benchmark of thousands costs no memory."""


@dataclass(frozen=True)
class Turn:
    """One earlier exchange shown to the model before the query (an in-context demonstration)."""

    query: str
    response: str
    picture: Picture | None = None


@dataclass(frozen=True)
class Example:
    """One query, with or without a picture, and what is known about it."""

    id: str
    """Unique within its benchmark, stable between runs."""
    dataset: str
    """Part of the benchmark: image_centric, text_centric, dual_use, utility or knowledge."""
    variant: str
    """How the content is shown (drawn, typography, noise ...), or the kind of utility question."""
    category: str
    """Hazard category or query type."""
    split: Split
    query: str
    picture: Picture | None = None
    safety: Safety | None = None
    """Whether answering is safe; None for utility and knowledge questions."""
    pair: str | None = None
    """Shared by the safe and the unsafe twin, and by every other example that is not independent of
    them (other variants of the same content): the unit that is resampled in a bootstrap."""
    answer: str | None = None
    """The one right answer of a utility or knowledge question."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What an exact judge needs to know, e.g. {"object": "bomb"}."""
    system: str | None = None
    """System prompt; None leaves the chat template's default."""
    demonstrations: tuple[Turn, ...] = ()
    response_prefix: str = ""
    """How the response already begins: the model goes on from there, and its first words are no
    part of what it says."""


@dataclass(frozen=True)
class Pair:
    """A safe and an unsafe example that differ in as little else as possible."""

    id: str
    safe: Example
    unsafe: Example


def pairs(examples: Iterable[Example]) -> list[Pair]:
    """Pair the safe and unsafe examples that share a pair id and a variant, in order of appearance.

    The k-th safe example is paired with the k-th unsafe one; what is left over on either side has
    no twin and is dropped.
    """
    groups: dict[tuple[str, str], dict[str, list[Example]]] = {}
    for example in examples:
        if example.pair is not None and example.safety is not None:
            key = (example.pair, example.variant)
            sides = groups.setdefault(key, {"safe": [], "unsafe": []})
            sides[example.safety].append(example)
    return [
        Pair(f"{'/'.join(key)}/{k}", safe, unsafe)
        for key, sides in groups.items()
        for k, (safe, unsafe) in enumerate(zip(sides["safe"], sides["unsafe"], strict=False))
    ]


def fingerprint(example: Example) -> str:
    """SHA-256 over everything the model sees: system prompt, demonstrations, query, pixels and how
    the response begins."""
    digest = hashlib.sha256()
    turns = [*example.demonstrations, Turn(example.query, "", example.picture)]
    _feed(digest, (example.system or "").encode(), b"system" if example.system else b"none")
    for turn in turns:
        _feed(digest, turn.query.encode(), turn.response.encode())
        if turn.picture is None:
            _feed(digest, b"no picture")
        else:
            image = turn.picture().convert("RGB")
            _feed(digest, repr(image.size).encode(), image.tobytes())
    if example.response_prefix:
        _feed(digest, b"begun", example.response_prefix.encode())
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", *parts: bytes) -> None:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)


def split_of(key: str, train: float, validation: float) -> Split:
    """A split drawn by hashing ``key``: the same key lands in the same split on every machine.

    ``train`` and ``validation`` are shares in [0, 1]; what remains is the test split.
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if share < train:
        return "train"
    return "validation" if share < train + validation else "test"


def limited(examples: list[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples of each dataset in each split, in their order.

    Twins (one pair id, one variant) stay together and the variants of a pair follow each other. Who
    is kept is drawn by hashing: a smaller limit gives a subset, the same on every machine.
    """
    if limit is None:
        return examples
    units: dict[tuple[str, str, str, str], list[Example]] = {}
    for example in examples:
        pair = example.pair or example.id
        unit = (example.dataset, str(example.split), pair, example.variant)
        units.setdefault(unit, []).append(example)
    counts: dict[tuple[str, str], int] = {}
    kept: set[str] = set()
    # The sort is stable, so variants of a pair keep their order.
    for key in sorted(units, key=lambda key: hashlib.sha256("/".join(key[:3]).encode()).digest()):
        cell, members = key[:2], units[key]
        # Counted even where it no longer fits: a smaller unit drawn later that slipped in would be
        # missing under a larger limit.
        counts[cell] = counts.get(cell, 0) + len(members)
        if counts[cell] <= limit:
            kept.update(member.id for member in members)
    return [example for example in examples if example.id in kept]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.casefold())


PAIRED_QUERIES = ("image_centric", "text_centric")
SAFETY_DATASETS = (*PAIRED_QUERIES, "dual_use")


class Placed(Protocol):
    """An example, or a response to one."""

    @property
    def dataset(self) -> str: ...

    @property
    def variant(self) -> str: ...


One = TypeVar("One", bound=Placed)


def counted_in_sra(some: Iterable[One]) -> list[One]:
    """What SRA is a share of, and an operating point is chosen by: image- and text-centric queries.

    Where there are none, those on original dual-use pictures (SRA_u is then RR_h, and SRA_s DAR_b):
    perturbed copies are not independent of what they copy.
    """
    found = list(some)
    paired = [one for one in found if one.dataset in PAIRED_QUERIES]
    return paired or [
        one for one in found if one.dataset == "dual_use" and one.variant not in PERTURBATIONS
    ]


@dataclass(frozen=True)
class Benchmark:
    """Examples of all splits, and what a reader of the results must know about them."""

    examples: list[Example]
    """Twins stand together, so that a limit on their number keeps pairs whole."""
    notes: list[str] = field(default_factory=list)
    """Every defect handled, everything rendered or left out: one sentence each, with its count."""
