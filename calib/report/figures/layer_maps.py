"""One measure at every layer and strength of a method: what a heat map is drawn from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from calib.runs.measured import Measured
from calib.scoring.intervals import Interval
from calib.scoring.results import ALL
from calib.scoring.tradeoff import Point, baseline_of, points_of


class LayerMap(NamedTuple):
    """One measure of a method at every layer and strength."""

    measure: str
    uncalibrated: float
    layers: list[int]
    strengths: list[str]
    """What the columns are called."""
    cells: Mapping[tuple[int, int], tuple[float, Interval]]
    """Strength and rate by layer and column."""
    chosen: tuple[int, float] | None
    """Layer and strength of the operating point; None where no setting was better."""


def maps_of(run: Measured, chosen: Mapping[str, Any], split: str, cost: str) -> list[LayerMap]:
    """SRA, and ``cost`` where it was measured; none of a method with one layer."""
    points = points_of(run.results.results, split)
    own = [p for p in points if p.method == chosen["method"] and p.layer is not None]
    layers = sorted({p.layer for p in own if p.layer is not None})
    if len(layers) < 2:
        return []
    before = baseline_of(points)
    side = "SRA" if before.sra_u.n and before.sra_s.n else "SRA_u" if before.sra_u.n else "SRA_s"
    rates: dict[str, tuple[float, list[Interval | None]]] = {
        side: (before.sra.value, [p.sra for p in own])
    }
    if cost == "KL":
        rates["KL"] = (0.0, [_kl(run, p, split) for p in own])
    elif before.utility is not None:
        rates["utility"] = (before.utility.value, [p.utility for p in own])
    names, column = _columns(own)
    # Strength 0 is the uncalibrated model: no setting was better.
    place = (chosen["layer"], chosen["strength"]) if chosen["strength"] else None
    maps = []
    for measure, (uncalibrated, values) in rates.items():
        cells = {
            (p.layer, column[p.layer, p.strength]): (p.strength, rate)
            for p, rate in zip(own, values, strict=True)
            if p.layer is not None and rate is not None and rate.n
        }
        if cells:
            maps.append(LayerMap(measure, uncalibrated, layers, names, cells, place))
    return maps


def _columns(points: Sequence[Point]) -> tuple[list[str], dict[tuple[int | None, float], int]]:
    """What the columns are called, and the column of each layer and strength.

    Where strengths differ between layers, as those of equal KL do, a column holds each layer's
    first, second ... strength.
    """
    of_layer: dict[int | None, list[float]] = defaultdict(list)
    for p in points:
        of_layer[p.layer].append(p.strength)
    every = sorted({p.strength for p in points})
    most = max(map(len, of_layer.values()))
    shared = len(every) <= 1.5 * most
    column = {
        (layer, strength): every.index(strength) if shared else k
        for layer, strengths in of_layer.items()
        for k, strength in enumerate(sorted(strengths))
    }
    return ([f"{s:g}" for s in every] if shared else [""] * most), column


def _kl(run: Measured, point: Point, split: str) -> Interval | None:
    place = (point.method, point.layer, point.strength, split, "utility", ALL, ALL, "KL")
    found = (
        r.interval for r in run.results.results
        if (r.method, r.layer, r.strength, r.split, r.dataset, r.variant, r.category, r.metric)
        == place
    )  # fmt: skip
    return next(found, None)
