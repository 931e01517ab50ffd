"""Splits that leave out queries or concepts, and the groups of pairs with the same query texts.

Pairs that share a query or a concept are not independent, so a split by pairs measures on test what
a method has seen in train. Here all pairs of a query group, or of a concept, get the same split.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from calib.config.choices import SPLIT_LEVELS, SPLITS, Split
from calib.data.example import Example, Pair, words_of
from calib.data.splits import split_of
from calib.util.errors import CalibError

FEW_UNITS = 100
"""With fewer units than this, a part's splits get their exact shares of them. Independent draws
could leave a split empty."""


def with_query_groups(examples: Sequence[Example]) -> list[Example]:
    """Examples with their query group: the pairs that share a query text, word for word.

    The text is the plain request, where the query only refers to a picture of it, after the earlier
    turns of the conversation, if there are any. A text that every
    example of a part has is the task, not a sample of queries, and joins no pairs.
    """
    texts = [" ".join(words_of(_text(example))) for example in examples]
    distinct: dict[str, set[str]] = {}
    for example, text in zip(examples, texts, strict=True):
        distinct.setdefault(example.dataset, set()).add(text)
    grouped = [len(distinct[e.dataset]) > 1 and e.query_group is None for e in examples]
    joined = _Joined()
    for example, text, is_grouped in zip(examples, texts, grouped, strict=True):
        if is_grouped:
            joined.join(f"pair {example.pair or example.id}", f"text {text}")
    return [
        replace(example, query_group=_digest(joined.root(f"text {text}")))
        if is_grouped
        else example
        for example, text, is_grouped in zip(examples, texts, grouped, strict=True)
    ]


def _text(example: Example) -> str:
    return f"{example.earlier_turns}\n{example.metadata.get('request') or example.query}"


def split_by_level(
    examples: Sequence[Example],
    by: str | None,
    seed: int,
    train: float,
    validation: float,
    given: Collection[str] = (),
) -> list[Example]:
    """Examples with splits that keep the pairs of a concept, or of a query group, together.

    ``by`` is the level: concept, query or pair; None is the coarsest that an example declares. An
    example without that level is split by the next finer one. ``given`` are the ids of examples
    whose split the data states: it is kept, and the rest of their unit joins them. ``train`` and
    ``validation`` are shares of the units of each part. Where no unit has several pairs, seed 0
    keeps the splits as they are.

    Raises CalibError if no example declares the level ``by``.
    """
    if by in ("concept", "query") and not any(_level_of(e, by)[0] == by for e in examples):
        raise CalibError(
            "invalid-setting",
            f"data.split_by={by}, but no example declares a {by}. Choose a finer level of "
            f"{', '.join(SPLIT_LEVELS)}, or give own pairs a column 'cluster'.",
        )
    joined = _Joined()
    for example in examples:
        level, name = _level_of(example, by)
        joined.join(f"pair {example.pair or example.id}", f"{level} {name}")
    units = [joined.root(f"pair {example.pair or example.id}") for example in examples]
    members: dict[str, list[Example]] = {}
    for example, unit in zip(examples, units, strict=True):
        members.setdefault(unit, []).append(example)
    if seed == 0 and all(len({e.pair or e.id for e in unit}) == 1 for unit in members.values()):
        return list(examples)
    splits: dict[str, Split] = {
        unit: stated[0]
        for unit, of_unit in members.items()
        if (stated := [example.split for example in of_unit if example.id in given])
    }
    for part in dict.fromkeys(example.dataset for example in examples):
        of_part = [
            unit for unit, of_unit in members.items() if any(e.dataset == part for e in of_unit)
        ]
        if len(of_part) < FEW_UNITS:
            _share_out(of_part, splits, seed, train, validation)
        for unit in of_part:
            if unit not in splits:
                drawn = min(members[unit], key=lambda example: example.pair or example.id).split
                key = f"{seed}/{unit}"
                splits[unit] = drawn if seed == 0 else split_of(key, train, validation)
    return [
        example if example.id in given else replace(example, split=splits[unit])
        for example, unit in zip(examples, units, strict=True)
    ]


def hold_out(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """The pairs to fit and the pairs to hold out, about ``share`` of them, in whole clusters.

    Clusters are drawn in the order of their hashes; one at least is held out, and one
    fitted, if there are several.
    """
    held = held_out_clusters([pair.safe.cluster for pair in pairs], share)
    return (
        [pair for pair in pairs if pair.safe.cluster not in held],
        [pair for pair in pairs if pair.safe.cluster in held],
    )


def held_out_clusters(clusters: Sequence[str], share: float) -> set[str]:
    """The clusters to hold out, with about ``share`` of the rows; ``clusters`` has one per row."""
    sizes = Counter(clusters)
    held: set[str] = set()
    count = 0.0
    for name in sorted(sizes, key=_digest)[:-1]:
        if share and (not held or count + sizes[name] / 2 <= share * len(clusters)):
            held.add(name)
            count += sizes[name]
    return held


def overlap_note(examples: Iterable[Example]) -> str:
    """One sentence: how many distinct queries and concepts of the test split occur in train."""
    seen: dict[tuple[str, str], set[str]] = {}
    for example in examples:
        if example.safety is not None:
            # A query that only refers to a picture is told apart by the request in the picture.
            text = " ".join(words_of(f"{example.query} {example.metadata.get('request', '')}"))
            seen.setdefault(("query", example.split), set()).add(text)
            if example.concept is not None:
                seen.setdefault(("concept", example.split), set()).add(example.concept)
    counts = []
    for kind, plural in (("query", "queries"), ("concept", "concepts")):
        if test := seen.get((kind, "test")):
            common = len(test & seen.get((kind, "train"), set()))
            counts.append(f"{common} of {len(test)} distinct {plural}")
    return f"test split: {' and '.join(counts)} also occur in train" if counts else ""


def _level_of(example: Example, by: str | None) -> tuple[str, str]:
    if by in (None, "concept") and example.concept is not None:
        return "concept", example.concept
    if by != "pair" and example.query_group is not None:
        return "query", example.query_group
    return "pair", example.pair or example.id


def _share_out(
    units: Sequence[str], splits: dict[str, Split], seed: int, train: float, validation: float
) -> None:
    """Give the ``units`` that have no split yet one each, in the order of their hashes, so that all
    of ``units`` together have the shares."""
    shares = dict(zip(SPLITS, (train, validation, 1 - train - validation), strict=True))
    open_places = _places(len(units), shares)
    for unit in units:
        if unit in splits:
            open_places[splits[unit]] -= 1
    free = sorted((u for u in units if u not in splits), key=lambda unit: _digest(f"{seed}/{unit}"))
    for unit in free:
        split = max(SPLITS, key=lambda split: open_places[split])
        splits[unit] = split
        open_places[split] -= 1


def _places(count: int, shares: dict[Split, float]) -> dict[Split, int]:
    """Whole numbers in proportion to the shares, by largest remainder; none of the shares above 0
    gets nothing while another has more than one."""
    places = {split: int(count * share + 1e-9) for split, share in shares.items()}
    for split in sorted(shares, key=lambda split: places[split] - count * shares[split]):
        places[split] += sum(places.values()) < count
    for split, share in shares.items():
        most = max(places, key=lambda other: places[other])
        if share > 1e-9 and places[split] == 0 and places[most] > 1:
            places[split], places[most] = 1, places[most] - 1
    return places


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Joined:
    """Names that belong together; each group has its smallest name as its root."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parents.setdefault(name, name)) != name:
            self._parents[name] = self._parents[parent]
            name = parent
        return name

    def join(self, a: str, b: str) -> None:
        low, high = sorted((self.root(a), self.root(b)))
        self._parents[high] = low
