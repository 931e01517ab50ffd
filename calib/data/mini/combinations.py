"""The splits of a mini world's examples, by held-out combinations, queries or concepts.

A combination is an example without its jitter: twin x colour x query x place in the image-centric
part, request x wording x pictured object in the text-centric part, and so on. The split of a
combination is fixed. The models were trained on queries of the train split only. Two limitations:
the vision tower was trained to classify pictures of all objects, colours and places, and plain
rendered text has so few distinct pictures (shifts by a few pixels) that the training included those
of the test split.

In a world that holds out concepts, the queries of a held-out concept are all in its split
(validation or test), because no combination of it was trained.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from calib.config.choices import Split
from calib.data.example import Example
from calib.data.mini.world import World
from calib.data.split_levels import split_by_level
from calib.data.splits import split_of

TRAIN_SHARE, VALIDATION_SHARE = 0.6, 0.15
"""Shares of the combinations in the train and validation splits."""
HELD_OUT_SHARES = 0.3, 0.2
"""Shares of the concepts, or of the queries, of each part in the train and validation splits."""


def combination_split(dataset: str, *parts: object) -> Split:
    """The split of a combination, for training data and examples alike."""
    return split_of("/".join([dataset, *map(str, parts)]), TRAIN_SHARE, VALIDATION_SHARE)


def query_split(of_concept: Split | None, dataset: str, *parts: object) -> Split:
    """The split of a safety query: its concept's if that is held out, or else its combination's."""
    if of_concept in (None, "train"):
        return combination_split(dataset, *parts)
    return of_concept


def combination_of(example: Example) -> str:
    """The twins of a request with the same wording and picture; elsewhere the pair."""
    if example.dataset == "text_centric":
        return example.id.rpartition("/")[0]
    return example.pair or example.id


def split_examples(
    examples: list[Example], by: str | None, seed: int, world: World
) -> list[Example]:
    """The examples with their splits drawn by pair, query or concept, as calib.data.mini.examples
    describes; examples that a split cannot use are left out."""
    if world.holds_out_concepts:
        if by == "pair":
            trained = {world.concept(twin.safe) for twin in world.trained_twins}
            examples = [e for e in examples if e.safety is None or e.concept in trained]
        elif by != "query":
            return list(_by_held_out_concept(examples, seed, world))
    queries = [example for example in examples if example.safety is not None]
    if by == "pair":
        drawn = {e.id: _redrawn_split(e, seed) for e in queries} if seed else {}
        return [replace(e, split=drawn.get(e.id, e.split)) for e in examples]
    drawn = {e.id: e.split for e in split_by_level(queries, by, seed, *HELD_OUT_SHARES)}
    return [
        replace(example, split=split)
        for example in examples
        if (split := drawn.get(example.id, example.split)) == example.split
        or "train" not in (split, example.split)
    ]


def _by_held_out_concept(examples: list[Example], seed: int, world: World) -> Iterable[Example]:
    """Trained combinations in train, and held-out concepts in validation or test: with seed 0 in
    the split of the world's table, else as many concepts in each, in the order of their hashes."""
    held_out = [twin for twin in world.twins if twin.split not in (None, "train")]
    splits = [twin.split for twin in held_out]
    if seed:
        splits.sort(key=lambda split: split != "validation")
        held_out.sort(key=lambda twin: _digest(f"{seed}/{twin.name}"))
    drawn = {world.concept(twin.safe): split for twin, split in zip(held_out, splits, strict=True)}
    for example in examples:
        if example.safety is None:
            yield example
        elif split := drawn.get(example.concept or ""):
            yield replace(example, split=split)
        elif example.split == "train":
            yield example


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _redrawn_split(example: Example, seed: int) -> Split:
    """Train as it is, because the model was trained on it; the rest is drawn again."""
    if example.split == "train":
        return "train"
    share = VALIDATION_SHARE / (1 - TRAIN_SHARE)
    drawn = split_of(f"{seed}/{combination_of(example)}", share, 0)
    return "validation" if drawn == "train" else "test"
