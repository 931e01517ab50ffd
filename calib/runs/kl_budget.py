"""Strengths within a budget of KL, and the layer with the largest effect at that cost.

Strengths of different methods, layers and operators have different units. They are compared by
their cost: the mean KL(base || calibrated) of the first response token over utility questions.
Methods are compared at equal cost, and a layer is selected by its effect at that cost, as
refusal_direction selects under a threshold of the same KL (arXiv 2406.11717, appendix C).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

from calib.data.example import Example
from calib.data.splits import limit_examples
from calib.engine.request import Request
from calib.interventions.intervention import BASELINE, Method, Setting
from calib.runs.engines import EditingEngine
from calib.runs.generate import generate
from calib.runs.labels.judging import Judging, judge_rows
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.scoring.intervals import Interval, paired_difference
from calib.scoring.judged import cluster_of, is_safe_response
from calib.util.checksums import checked_object, read_checked_object
from calib.util.errors import CalibError
from calib.util.files import typed_object, write_atomically
from calib.util.progress import Step, log_line, row_bar
from calib.util.reading import file_bytes, parse_json
from calib.util.terminal import terminal_safe

FILE = "strengths.json"
QUESTIONS = 64
"""Most utility questions that a cost is measured on, drawn from all of them."""
OCTAVES = 5
"""The first search covers this many doublings below and above the axis' default scale."""
STEPS = 5
"""Strengths tried within a bracket in each of the finer searches."""
SEARCHES = 3
EFFECT_EXAMPLES = 96
"""Most validation examples that an effect is measured on, in equal numbers from all parts."""

LayerAndSign = tuple[int | None, int]


@dataclass(frozen=True)
class CostedStrength:
    """A strength at a layer, and its cost."""

    layer: int | None
    strength: float
    kl: float
    """Mean over the questions, in nats."""
    at_end: bool = False
    """Whether even the largest strength that was tried is within the budget."""


_STORED = {"layer": int | None, "strength": int | float, "kl": int | float}
Costs = Callable[[Sequence[tuple[int | None, float]]], list[float]]
"""Mean KL at each layer and strength, in nats."""


def strengths_within_budget(
    engine: EditingEngine,
    method: Method,
    questions: Sequence[Example],
    budget: float,
    folder: Path,
) -> list[CostedStrength]:
    """The largest strength of each sign at each layer of a method whose cost is within ``budget``.

    A layer and sign are left out if even the smallest strength costs more. The strengths are stored
    in the run's ``folder``, so that a resumed run uses the same ones.
    """
    path, key = folder / FILE, f"{method.name} {budget:g} KL(base || calibrated)"
    stored = _read_costs(path) if path.exists() else {}
    former = f"{method.name} {budget:g}"  # of KL(calibrated || base), in runs of older versions
    if former in stored:
        stored[key] = stored[former]
    if key in stored:
        log_line(
            f"cost of {terminal_safe(method.name)}: strengths read from {terminal_safe(str(path))}"
        )
    else:
        questions = limit_examples(list(questions), QUESTIONS)
        total = (2 * OCTAVES + 1 + (SEARCHES - 1) * STEPS) * len(questions)
        searched = list(product(method.layers, (1, -1) if method.axis.signed else (1,)))
        with row_bar(f"cost of {method.name}", total * len(searched)) as bar:
            decoding = replace(engine.decoding, max_new_tokens=1, temperature=0.0)
            first_token = engine.with_decoding(decoding)

            def costs(points: Sequence[tuple[int | None, float]]) -> list[float]:
                settings = [method.setting(*point) for point in points]
                return _costs(first_token, questions, settings, bar)

            strengths = search_strengths(costs, searched, method.axis.default_scale, budget)
        stored[key] = [asdict(strength) for strength in strengths]
        write_atomically(path, json.dumps(checked_object(stored), indent=1) + "\n")
    return [CostedStrength(**strength) for strength in stored[key]]


def _read_costs(path: Path) -> dict[str, Any]:
    """The strengths on record. Raises CalibError when the file is damaged."""
    try:
        stored = read_checked_object(parse_json(file_bytes(path)))
        for key, strengths in stored.items():
            for strength in strengths:
                typed_object(strength, _STORED, key, {"at_end": bool})
        return stored
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CalibError(
            "invalid-content",
            f"{path} was changed by the disk or another program ({error}). Delete it; the "
            "strengths are then searched again.",
        ) from error


def search_strengths(
    costs: Costs, searched: Sequence[LayerAndSign], scale: float, budget: float
) -> list[CostedStrength]:
    """The largest strength at each layer and sign before the cost first exceeds ``budget``.

    Doublings around ``scale`` find a bracket; two finer searches narrow it to a factor of
    2^(1/36), about 2%.
    """
    octaves = range(-OCTAVES, OCTAVES + 1)
    tried = {key: [scale * 2.0**k for k in octaves] for key in searched}
    best: dict[LayerAndSign, CostedStrength] = {}
    at_end: set[LayerAndSign] = set()
    ratio = 2.0
    for search in range(SEARCHES):
        points = [(*key, size) for key, sizes in tried.items() for size in sizes]
        kls = costs([(layer, sign * size) for layer, sign, size in points])
        cost = dict(zip(points, kls, strict=True))
        for key, sizes in tried.items():
            for size in sizes:
                if not cost[*key, size] <= budget:
                    break
                best[key] = CostedStrength(key[0], key[1] * size, cost[*key, size])
            else:
                if search == 0:
                    at_end.add(key)
        ratio **= 1 / (STEPS + 1)
        tried = {
            key: [abs(largest.strength) * ratio**k for k in range(1, STEPS + 1)]
            for key, largest in best.items()
            if key not in at_end
        }
        if not tried:
            break
    return [replace(largest, at_end=key in at_end) for key, largest in best.items()]


def _costs(
    engine: EditingEngine, questions: Sequence[Example], settings: Sequence[Setting], bar: Step
) -> list[float]:
    rows = Planner(engine).rows(questions, settings)  # the settings of a question are adjacent
    responses = engine.answer(
        [Request(row.prompt, row.edits, reference=row.reference) for row in rows], bar.update
    )
    # Without finite logits there is no KL: more than any budget.
    kls = [
        inf if response.kl_base is None or response.finish == "not_finite" else response.kl_base
        for response in responses
    ]
    return [fmean(kls[k :: len(settings)]) for k in range(len(settings))]


def integers_within_budget(
    planner: Planner,
    store: RowStore,
    method: Method,
    strengths: Sequence[float],
    questions: Sequence[Example],
    budget: float,
) -> list[CostedStrength]:
    """The largest of ``strengths`` within ``budget`` at each layer, for a method whose strength is
    a count; all of them, where strengths are numbers of variants."""
    questions = limit_examples(list(questions), QUESTIONS)
    points = list(product(method.layers, sorted(s for s in set(strengths) if s)))
    planned = [planner.rows(questions, [method.setting(*point)]) for point in points]
    total = sum(len({row.id for row in rows}) for rows in planned)
    best: dict[tuple[int | None, int], CostedStrength] = {}
    with row_bar(f"cost of {method.name}", total) as bar:
        for (layer, strength), rows in zip(points, planned, strict=True):
            final = generate(planner, rows, store, progress=bar)
            records = [store.finished[row.id] for row in final]
            # Rows of older versions have KL(calibrated || base) only.
            measured = "kl_base" if all("kl_base" in record for record in records) else "kl"
            # Where numbers overflowed there is no KL: more than any budget.
            kls = [record[measured] for record in records]
            cost = fmean(inf if kl is None else kl for kl in kls)
            if cost <= budget:
                variant = int(strength) if method.variants else 0
                best[layer, variant] = CostedStrength(layer, strength, cost)
    return list(best.values())


def budget_notes(
    method: Method, costed: Sequence[CostedStrength], budget: float, layers: Sequence[int | None]
) -> list[str]:
    """Notes on the strengths that a budget allows at ``layers``."""
    own = [cost for cost in costed if cost.layer in layers]
    shown = ", ".join(
        ("" if cost.layer is None else f"layer {cost.layer}: ") + f"{cost.strength:+.3g}"
        for cost in own
    )
    notes = [
        f"{method.name}: strengths within KL {budget:g} on utility questions: {shown or 'none'}"
    ]
    if any(cost.at_end for cost in own):
        notes.append(f"{method.name}: the largest strength that was tried is within the budget")
    return notes


@dataclass(frozen=True)
class LayerEffect:
    """The effect of one layer at the budget of KL."""

    layer: int
    strength: float
    """The largest strength within the budget."""
    against: float
    """The most negative strength within the budget; 0, the uncalibrated model, if there is none."""
    kl: float
    """Cost of ``strength``, in nats."""
    rise: Interval
    """Rise of the share of refused or warned queries from ``against`` to ``strength``."""


def layer_effects(
    planner: Planner,
    store: RowStore,
    judging: Judging,
    method: Method,
    costed: Sequence[CostedStrength],
    examples: Sequence[Example],
) -> list[LayerEffect]:
    """The effect of each layer that has a strength within the budget.

    Examples without a label under one of the two strengths are left out; n of ``rise`` counts the
    others.
    """
    parts = {example.dataset for example in examples}
    examples = limit_examples(list(examples), EFFECT_EXAMPLES // max(1, len(parts)))
    compared: list[tuple[CostedStrength, float]] = []
    for layer in method.layers:
        own = {cost.strength > 0: cost for cost in costed if cost.layer == layer}
        if layer is not None and True in own:
            compared.append((own[True], own[False].strength if False in own else 0.0))
    planned = []
    for largest, against in compared:
        settings = [
            method.setting(largest.layer, strength) if strength else BASELINE
            for strength in (largest.strength, against)
        ]
        planned.append([planner.rows(examples, [setting]) for setting in settings])
    total = sum(len({row.id for row in rows}) for both in planned for rows in both)
    with row_bar(f"effect of {method.name}", total) as bar:
        final = [
            [generate(planner, rows, store, progress=bar) for rows in both] for both in planned
        ]
    effects = []
    for (largest, against), both in zip(compared, final, strict=True):
        judged = [judge_rows(rows, store, judging) for rows in both]
        pairs = [
            (cluster_of(a), is_safe_response(a.label), is_safe_response(b.label))
            for a, b in zip(*judged, strict=True)
            if a.label is not None and b.label is not None
        ]
        if pairs:
            clusters, refused, refused_before = zip(*pairs, strict=True)
            rise = paired_difference(refused, refused_before, clusters)
            assert largest.layer is not None
            effects.append(LayerEffect(largest.layer, largest.strength, against, largest.kl, rise))
    return effects


def largest_effect(effects: Sequence[LayerEffect]) -> LayerEffect:
    """The effect that moves refusals most, up or down; the lower layer on a tie."""
    return max(effects, key=lambda effect: (round(abs(effect.rise.value), 9), -effect.layer))


def effect_note(method: Method, effects: Sequence[LayerEffect], best: LayerEffect) -> str:
    """A note on the layer that was selected by its effect."""
    shown = ", ".join(f"{effect.layer}: {100 * effect.rise.value:+.0f}" for effect in effects)
    return (
        f"{method.name}: layer {best.layer} was chosen by its effect, the rise of refusals in "
        f"points from strength {best.against:+.3g} to {best.strength:+.3g}, each within the budget "
        f"of KL (n = {best.rise.n}). By layer: {shown}"
    )
