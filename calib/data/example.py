"""The units of data: an example (a query, with or without pictures) and a contrastive pair."""

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from calib.config.choices import Safety, Split

Picture = Callable[[], Image.Image]
"""Opens or draws the image when called, so that a large benchmark does not fill the memory."""


@dataclass(frozen=True)
class Turn:
    """An exchange shown to the model before the query (an in-context demonstration)."""

    query: str
    response: str
    picture: Picture | None = None
    more_pictures: tuple[Picture, ...] = ()
    """The second and later pictures of the turn."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures of the turn, in the order in which they precede its text."""
        return _pictures(self.picture, self.more_pictures)


@dataclass(frozen=True)
class Example:
    """A query, with or without pictures, and its annotations."""

    id: str
    """Unique within its benchmark and stable between runs."""
    dataset: str
    """Part of the benchmark: image_centric, text_centric, dual_use, utility or knowledge."""
    variant: str
    """Presentation of the content (drawn, typography, noise ...), or kind of utility question."""
    category: str
    """Hazard category or query type."""
    split: Split
    query: str
    picture: Picture | None = None
    safety: Safety | None = None
    """Whether answering is safe; None for utility and knowledge questions."""
    pair: str | None = None
    """Id shared by the safe and the unsafe twin, and by other variants of the same content."""
    query_group: str | None = None
    """Id shared by the pairs with the same query texts; None if the query does not vary."""
    concept: str | None = None
    """Id shared by the pairs about the same object, deed or word, whose answers depend on each
    other; None if the data does not declare it. The level above ``query_group``."""
    answer: str | None = None
    """The only correct answer of a utility or knowledge question."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Annotations for rule-based judges, e.g. {"object": "bomb"}."""
    system: str | None = None
    """System prompt; None uses the default of the chat template."""
    demonstrations: tuple[Turn, ...] = ()
    response_prefix: str = ""
    """Prefilled beginning of the response. The model continues it; it is not part of its output."""
    more_pictures: tuple[Picture, ...] = ()
    """The second and later pictures of the query."""

    def __post_init__(self) -> None:
        assert self.picture is not None or not self.more_pictures, "use with_pictures"

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures of the query, in the order in which they precede its text."""
        return _pictures(self.picture, self.more_pictures)

    @property
    def earlier_turns(self) -> str:
        """The texts of the conversation before the query, a line each, for people and judges."""
        return "\n".join(
            f"{speaker}: {text}"
            for turn in self.demonstrations
            for speaker, text in (("user", turn.query), ("assistant", turn.response))
        )

    def with_system_in_query(self) -> "Example":
        """The example with its system prompt before the first query, a blank line in between.

        Gemma's own templates place system messages so.
        """
        if not self.system:
            return self
        if not self.demonstrations:
            return replace(self, system=None, query=f"{self.system}\n\n{self.query}")
        first, *others = self.demonstrations
        first = replace(first, query=f"{self.system}\n\n{first.query}")
        return replace(self, system=None, demonstrations=(first, *others))

    @property
    def cluster(self) -> str:
        """The unit that intervals and tests count once, at the coarsest declared level."""
        return cluster_name(self.dataset, self.id, self.pair, self.query_group, self.concept)

    @property
    def facts(self) -> Mapping[str, str]:
        """Deprecated name of metadata, removed in the next version."""
        warnings.warn("Example.facts is now Example.metadata", DeprecationWarning, stacklevel=2)
        return self.metadata


def with_pictures(example: Example, pictures: Sequence[Picture]) -> Example:
    """The example with these pictures in place of its own."""
    first, *others = pictures or (None,)
    return replace(example, picture=first, more_pictures=tuple(others))


def repeated_ids(examples: Iterable[Example]) -> list[str]:
    """The ids that more than one example has, in order: rows are recorded by id."""
    counts = Counter(example.id for example in examples)
    return [id_ for id_, count in counts.items() if count > 1]


def map_pictures(example: Example, change: Callable[[Picture], Picture]) -> Example:
    """The example with ``change`` applied to each of its pictures, in all turns."""
    turns = [
        replace(
            turn,
            picture=turn.picture and change(turn.picture),
            more_pictures=tuple(map(change, turn.more_pictures)),
        )
        for turn in example.demonstrations
    ]
    shown = with_pictures(example, list(map(change, example.pictures)))
    return replace(shown, demonstrations=tuple(turns))


def _pictures(first: Picture | None, others: tuple[Picture, ...]) -> tuple[Picture, ...]:
    return () if first is None else (first, *others)


def cluster_name(
    dataset: str, id: str, pair: str | None, query_group: str | None, concept: str | None
) -> str:
    """Name the cluster of an example: concept, query group, pair or itself, the first declared.

    Concepts and query groups join examples of several parts; pairs belong to one.
    """
    if concept is not None:
        return f"concept/{concept}"
    if query_group is not None:
        return f"query/{query_group}"
    return f"{dataset}/{'example' if pair is None else 'pair'}/{pair or id}"


@dataclass(frozen=True)
class Pair:
    """A safe and an unsafe example that differ as little as possible otherwise."""

    id: str
    safe: Example
    unsafe: Example


@dataclass(frozen=True)
class Benchmark:
    """The examples of all splits, and notes for readers of the results."""

    examples: list[Example]
    """Twins are adjacent, so that a limit on the number of examples does not separate them."""
    notes: list[str] = field(default_factory=list)
    """One sentence, with a count, for each repaired defect and each set of rendered or skipped
    examples."""
    given_splits: frozenset[str] = frozenset()
    """Ids of the examples whose split the data states."""


def pairs(examples: Iterable[Example]) -> list[Pair]:
    """Pair the safe and unsafe examples that share a pair id and a variant, in order of appearance.

    The k-th safe example is paired with the k-th unsafe one. Surplus examples on either side have
    no twin and are dropped.
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
    """SHA-256 over the model's whole input: system prompt, demonstrations, query, pixels and the
    prefilled beginning of the response."""
    digest = hashlib.sha256()
    last = Turn(example.query, "", example.picture, example.more_pictures)
    turns = [*example.demonstrations, last]
    _feed(digest, (example.system or "").encode(), b"system" if example.system else b"none")
    for turn in turns:
        _feed(digest, turn.query.encode(), turn.response.encode())
        if not turn.pictures:
            _feed(digest, b"no picture")
        for picture in turn.pictures:
            image = picture().convert("RGB")
            _feed(digest, repr(image.size).encode(), image.tobytes())
    if example.response_prefix:
        _feed(digest, b"begun", example.response_prefix.encode())
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", *parts: bytes) -> None:
    # The lengths distinguish ("ab", "c") from ("a", "bc").
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.findall(r"\w+", text.casefold())
