"""Select the layer and the operating point that a method's grid is reported at."""

from collections.abc import Sequence
from dataclasses import dataclass

from calib.data.example import Example
from calib.data.splits import limit_examples
from calib.interventions.intervention import BASELINE, Method
from calib.runs.generate import answer
from calib.runs.judging import Judging, judge_rows
from calib.runs.kl_budget import CostedStrength
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import cluster_of, is_safe_response
from calib.util.progress import row_bar

EXAMPLES = 96
"""Most validation examples that an effect is measured on, drawn from all parts alike."""


@dataclass(frozen=True)
class Effect:
    """What one layer does at the budget of KL."""

    layer: int
    strength: float
    """The largest strength within the budget."""
    against: float
    """The most negative strength within it; 0, the uncalibrated model, where there is none."""
    kl: float
    """Cost of ``strength``, in nats."""
    rise: Interval
    """Rise of the share of refused or warned queries from ``against`` to ``strength``."""


def effects(
    planner: Planner,
    record: RowStore,
    judging: Judging,
    method: Method,
    priced: Sequence[CostedStrength],
    examples: Sequence[Example],
) -> list[Effect]:
    """The effect of each layer that has a strength within the budget.

    Examples without a label under one of its two settings are left out; the rise has their n.
    """
    parts = {example.dataset for example in examples}
    asked = limit_examples(list(examples), EXAMPLES // max(1, len(parts)))
    places: list[tuple[CostedStrength, float]] = []
    for layer in method.layers:
        own = {one.strength > 0: one for one in priced if one.layer == layer}
        if layer is not None and True in own:
            places.append((own[True], own[False].strength if False in own else 0.0))
    sides = []
    for up, down in places:
        settings = [method.setting(up.layer, s) if s else BASELINE for s in (up.strength, down)]
        sides.append([planner.rows(asked, [setting]) for setting in settings])
    total = sum(len({row.id for row in rows}) for both in sides for rows in both)
    with row_bar(f"effect of {method.name}", total) as bar:
        counting = [
            [answer(planner, rows, record, progress=bar) for rows in both] for both in sides
        ]
    found = []
    for (up, down), both in zip(places, counting, strict=True):
        judged = [judge_rows(rows, record, judging) for rows in both]
        pairs = [
            (cluster_of(a), is_safe_response(a.label), is_safe_response(b.label))
            for a, b in zip(*judged, strict=True)
            if a.label is not None and b.label is not None
        ]
        if pairs:
            clusters, refused, before = zip(*pairs, strict=True)
            rise = paired_difference(refused, before, clusters)
            assert up.layer is not None
            found.append(Effect(up.layer, up.strength, down, up.kl, rise))
    return found


def largest(found: Sequence[Effect]) -> Effect:
    """The effect that moves refusals most, in whichever direction; ties go to the lower layer."""
    return max(found, key=lambda one: (round(abs(one.rise.value), 9), -one.layer))


def effect_note(method: Method, found: Sequence[Effect], best: Effect) -> str:
    """Why a layer was chosen, in words."""
    shown = ", ".join(f"{one.layer}: {100 * one.rise.value:+.0f}" for one in found)
    return (
        f"{method.name}: layer {best.layer} was chosen by its effect, the rise of refusals in "
        f"points from strength {best.against:+.3g} to {best.strength:+.3g}, each within the budget "
        f"of KL (n = {best.rise.n}). By layer: {shown}"
    )
