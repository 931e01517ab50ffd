"""The examples that a method was fitted to, as text for a note of its run."""

from collections.abc import Sequence

from calib.data.example import Example
from calib.interventions.contrasts import BEHAVIOUR_CONTRASTS, ContrastSides

_SIDES = {
    "safety": ("unsafe", "safe queries"),
    "completion": ("refusals", "safe completions"),
    "responses": ("refusals", "answers"),
    "modality": ("with", "without pictures"),
    **dict.fromkeys(BEHAVIOUR_CONTRASTS, ("refused", "answered queries")),
}


def fitted_to(name: str, contrast: str, sides: ContrastSides) -> str:
    """The numbers of examples on both sides of a contrast on train, and of their pairs or queries
    and clusters, for the method ``name``."""
    positive, negative = _SIDES[contrast]
    groups = len({*sides.positive_groups, *sides.negative_groups})
    what = "pairs" if contrast == "safety" else "queries"
    return (
        f"{name}: fitted to {groups} train {what} ({len(sides.positive)} {positive}, "
        f"{len(sides.negative)} {negative}){in_clusters([*sides.positive, *sides.negative])}"
    )


def in_clusters(examples: Sequence[Example]) -> str:
    """The number of clusters of some examples, as the end of a clause."""
    count = len({example.cluster for example in examples})
    return f", in {count} cluster{'s' * (count != 1)}"
