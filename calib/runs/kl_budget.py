"""Strengths by what they cost: the largest ones within a budget of KL, and what they do there.

Methods, layers and operators have strengths in units of their own. What compares them is the mean
KL(calibrated || base) of the first response token over utility questions: methods are compared at
equal cost, and a layer is chosen by its effect at that cost (as refusal_direction chooses under a
KL threshold, arXiv 2406.11717, section 2.3).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import inf
from pathlib import Path
from statistics import fmean

from calib.data.example import Example
from calib.data.splits import limit_examples
from calib.engine.engine import Engine
from calib.engine.request import Request
from calib.interventions.intervention import Method, Setting
from calib.runs.generate import answer
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.util.files import write_atomically
from calib.util.progress import Step, row_bar, tell
from calib.util.terminal import terminal_safe

FILE = "strengths.json"
QUESTIONS = 64
"""Most utility questions that a cost is measured on, drawn from all of them."""
OCTAVES = 5
"""The first search goes from the axis' usual strength so many doublings down and up."""
STEPS = 5
"""Strengths tried within a bracket in each of the finer searches."""
SEARCHES = 3

Place = tuple[int | None, int]
"""Layer and sign."""


@dataclass(frozen=True)
class CostedStrength:
    """A strength and its cost."""

    layer: int | None
    strength: float
    kl: float
    """Mean over the questions, in nats."""
    at_end: bool = False
    """Whether even the largest strength that was tried is within the budget."""


Costs = Callable[[Sequence[tuple[int | None, float]]], list[float]]
"""Mean KL at layers and strengths."""


def within_budget(
    engine: Engine,
    method: Method,
    questions: Sequence[Example],
    budget: float,
    folder: Path,
) -> list[CostedStrength]:
    """The largest strength of each sign at each layer of a method whose cost is within budget.

    Places where even the smallest strength costs more are missing. Kept in the run's folder, so
    that a resumed run goes on with the very same strengths.
    """
    path, key = folder / FILE, f"{method.name} {budget:g}"
    known = json.loads(path.read_text()) if path.exists() else {}
    if key in known:
        tell(
            f"cost of {terminal_safe(method.name)}: strengths read from {terminal_safe(str(path))}"
        )
    else:
        asked = limit_examples(list(questions), QUESTIONS)
        total = (2 * OCTAVES + 1 + (SEARCHES - 1) * STEPS) * len(asked)
        places = list(product(method.layers, (1, -1) if method.axis.signed else (1,)))
        with row_bar(f"cost of {method.name}", total * len(places)) as bar:
            first = Engine(engine.vlm, replace(engine.decoding, max_new_tokens=1, temperature=0.0))

            def costs(points: Sequence[tuple[int | None, float]]) -> list[float]:
                settings = [method.setting(*point) for point in points]
                return _costs(first, asked, settings, bar)

            known[key] = [
                asdict(one) for one in search(costs, places, method.axis.default_scale, budget)
            ]
        write_atomically(path, json.dumps(known, indent=1) + "\n")
    return [CostedStrength(**one) for one in known[key]]


def search(
    costs: Costs, places: Sequence[Place], usual: float, budget: float
) -> list[CostedStrength]:
    """The largest strength at each place before the cost first exceeds the budget.

    Doublings find a bracket, two finer searches narrow it to a factor of 2^(1/36), about 2%.
    """
    octaves = range(-OCTAVES, OCTAVES + 1)
    tried = {place: [usual * 2.0**k for k in octaves] for place in places}
    held: dict[Place, CostedStrength] = {}
    ended: set[Place] = set()
    ratio = 2.0
    for search in range(SEARCHES):
        points = [(*place, s) for place, strengths in tried.items() for s in strengths]
        cost = dict(
            zip(points, costs([(layer, sign * s) for layer, sign, s in points]), strict=True)
        )
        for place, strengths in tried.items():
            for strength in strengths:
                if not cost[*place, strength] <= budget:
                    break
                held[place] = CostedStrength(place[0], place[1] * strength, cost[*place, strength])
            else:
                if search == 0:
                    ended.add(place)
        ratio **= 1 / (STEPS + 1)
        tried = {
            place: [abs(one.strength) * ratio**k for k in range(1, STEPS + 1)]
            for place, one in held.items()
            if place not in ended
        }
        if not tried:
            break
    return [replace(one, at_end=place in ended) for place, one in held.items()]


def _costs(
    engine: Engine, asked: Sequence[Example], settings: Sequence[Setting], bar: Step
) -> list[float]:
    rows = Planner(engine).rows(asked, settings)  # settings of one example stand together
    found = engine.answer(
        [Request(row.shown, row.edits, reference=row.base) for row in rows], bar.update
    )
    # Where the model's output is not finite its KL says nothing: more than any budget.
    kls = [
        inf if response.kl is None or response.finish == "not_finite" else response.kl
        for response in found
    ]
    return [fmean(kls[k :: len(settings)]) for k in range(len(settings))]


def whole_within_budget(
    planner: Planner,
    record: RowStore,
    method: Method,
    strengths: Sequence[float],
    questions: Sequence[Example],
    budget: float,
) -> list[CostedStrength]:
    """The same where strength counts something: the largest of the given ones within budget."""
    asked = limit_examples(list(questions), QUESTIONS)
    found: dict[int | None, CostedStrength] = {}
    points = list(product(method.layers, sorted(s for s in set(strengths) if s)))
    asked_at = [planner.rows(asked, [method.setting(*point)]) for point in points]
    total = sum(len({row.id for row in rows}) for rows in asked_at)
    with row_bar(f"cost of {method.name}", total) as bar:
        for (layer, strength), rows in zip(points, asked_at, strict=True):
            counting = answer(planner, rows, record, progress=bar)
            cost = fmean(record.finished[row.id]["kl"] for row in counting)
            if cost <= budget:
                found[layer] = CostedStrength(layer, strength, cost)
    return list(found.values())


def budget_notes(
    method: Method, priced: Sequence[CostedStrength], budget: float, layers: Sequence[int | None]
) -> list[str]:
    """What a reader should know about strengths that were chosen by their cost."""
    shown = ", ".join(
        ("" if one.layer is None else f"layer {one.layer}: ") + f"{one.strength:+.3g}"
        for one in priced
        if one.layer in layers
    )
    notes = [
        f"{method.name}: strengths within KL {budget:g} on utility questions: {shown or 'none'}"
    ]
    if any(one.at_end for one in priced if one.layer in layers):
        notes.append(f"{method.name}: the largest strength that was tried is within the budget")
    return notes
