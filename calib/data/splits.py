"""Select examples: splits, limits, and the examples that count towards SRA."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from calib.config.choices import PARTS, PERTURBATIONS, Split
from calib.data.example import Example

PAIRED_QUERIES = ("image_centric", "text_centric")
SAFETY_DATASETS = PARTS


def split_of(key: str, train: float, validation: float) -> Split:
    """A split drawn by hashing ``key``: the same key gets the same split on every machine.

    ``train`` and ``validation`` are shares in [0, 1]; the remainder is the test split.
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if share < train:
        return "train"
    return "validation" if share < train + validation else "test"


def _pair_or_id(example: Example) -> str:
    return example.pair or example.id


def limit_examples(
    examples: list[Example], limit: int | None, unit_of: Callable[[Example], str] = _pair_or_id
) -> list[Example]:
    """At most ``limit`` examples of each dataset and split, in their original order.

    Twins (same pair id and variant) stay together, and variants of a pair are drawn in succession;
    ``unit_of`` names smaller units than the pair, for pairs with many examples of a variant.
    The draw is by hashing: a smaller limit gives a subset, the same on every machine.
    """
    if limit is None:
        return examples
    units: dict[tuple[str, str, str, str], list[Example]] = {}
    for example in examples:
        unit = (example.dataset, str(example.split), unit_of(example), example.variant)
        units.setdefault(unit, []).append(example)
    counts: dict[tuple[str, str], int] = {}
    selected: set[str] = set()
    # The sort is stable, so variants of a pair keep their order.
    for key in sorted(units, key=lambda key: hashlib.sha256("/".join(key[:3]).encode()).digest()):
        dataset_and_split, members = key[:2], units[key]
        # A unit that no longer fits is still counted. Otherwise a smaller unit drawn later could
        # take its place, and be missing under a larger limit.
        counts[dataset_and_split] = counts.get(dataset_and_split, 0) + len(members)
        if counts[dataset_and_split] <= limit:
            selected.update(member.id for member in members)
    return [example for example in examples if example.id in selected]


class InDataset(Protocol):
    """An example, or a response to an example."""

    @property
    def dataset(self) -> str: ...

    @property
    def variant(self) -> str: ...


Item = TypeVar("Item", bound=InDataset)


def select_for_sra(items: Iterable[Item]) -> list[Item]:
    """The image- and text-centric examples or responses, which determine SRA and the operating
    point.

    Without any, those on original dual-use pictures: SRA_u is then RR_h and SRA_s is DAR_b.
    Perturbed copies are excluded, because they are not independent of their original.
    """
    items = list(items)
    paired = [item for item in items if item.dataset in PAIRED_QUERIES]
    return paired or [
        item for item in items if item.dataset == "dual_use" and item.variant not in PERTURBATIONS
    ]
