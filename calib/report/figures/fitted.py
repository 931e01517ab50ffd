"""The directions that some runs fitted, each once, and what figures call them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from calib.directions.direction import Direction
from calib.directions.projections import Projections
from calib.report.figures.io import NotDrawn
from calib.report.figures.style import shown_name
from calib.runs.run import Run

_SIDES = {
    "safety": ("safe", "unsafe"),
    "refusal": ("answered", "refused"),
    "harmful_refusal": ("unsafe, answered", "unsafe, refused"),
    "false_refusal": ("safe, answered", "safe, refused"),
    "true_refusal": ("safe, answered", "unsafe, refused"),
    "responses": ("before an answer", "before a refusal"),
    "modality": ("without picture", "with picture"),
}
MOST = 16
"""More directions than this cannot be told apart in one figure."""


@dataclass(frozen=True)
class Fitted:
    """One direction, the runs that fitted it and its name in the first of them."""

    runs: tuple[Run, ...]
    name: str
    direction: Direction
    projections: Projections | None

    @property
    def chosen_layer(self) -> int | None:
        """Layer of the operating point, where the runs have one and agree on it."""
        layers = {
            int(point["layer"])
            for run in self.runs
            for point in run.operating_points
            if point["layer"] is not None and not point["kept_uncalibrated"]
        }
        return layers.pop() if len(layers) == 1 else None


def fitted_directions(runs: Sequence[Run]) -> list[Fitted]:
    """The directions of the runs in their order; what several runs fitted alike stands once, with
    the effects and the projections that any of them has.

    Raises NotDrawn when there are none, or too many.
    """
    found: list[Fitted] = []
    for run in runs:
        for name, direction in run.directions.items():
            one = Fitted((run,), name, direction, run.projections.get(name))
            at = next((k for k, other in enumerate(found) if _alike(one, other)), None)
            if at is None:
                found.append(one)
            else:
                found[at] = _merged(found[at], one)
    if not found:
        raise NotDrawn(
            "The runs fitted no direction. Run calib.extract, or a sweep of a method that steers "
            "along a direction of its own (method=steer)."
        )
    if len(found) > MOST:
        raise NotDrawn(
            f"The runs fitted {len(found)} directions; more than {MOST} cannot be told apart in "
            "one figure. Draw fewer runs at a time."
        )
    return found


def sides_called(contrast: str) -> tuple[str, str]:
    """What the negative and the positive side of a contrast are."""
    return _SIDES.get(contrast, ("negative side", "positive side"))


def names(fitted: Sequence[Fitted], width: int) -> list[str]:
    """What each direction is called: its contrast and whatever else they differ by."""
    origins = [
        (d.checkpoint, d.contrast, d.estimator, d.read_positions, d.site)
        for d in (one.direction for one in fitted)
    ]
    told = [k == 1 or len(set(values)) > 1 for k, values in enumerate(zip(*origins, strict=True))]
    parts = [
        [shown_name(part, width) for part, is_told in zip(origin, told, strict=True) if is_told]
        for origin in origins
    ]
    for more in ([one.runs[0].folder.name for one in fitted], [one.name for one in fitted]):
        shared = [parts.count(own) > 1 for own in parts]
        for own, name, is_shared in zip(parts, more, shared, strict=True):
            if is_shared:
                own.append(shown_name(name, width))
    return [", ".join(own).strip() for own in parts]


def models_of(fitted: Sequence[Fitted]) -> list[str]:
    """The checkpoints, each once."""
    return list(dict.fromkeys(one.direction.checkpoint for one in fitted))


def _alike(one: Fitted, other: Fitted) -> bool:
    a, b = one.direction, other.direction
    same = (a.fingerprint, a.contrast, a.estimator, a.read_positions, a.site, a.pair_set, a.layers)
    if same != (
        b.fingerprint, b.contrast, b.estimator, b.read_positions, b.site, b.pair_set, b.layers,
    ):  # fmt: skip
        return False
    measured = not (a.effect and b.effect) or (a.effect_kl, repr(a.effect)) == (
        b.effect_kl,
        repr(b.effect),  # nan is itself here
    )
    return measured and a.auroc == b.auroc and a.vectors.equal(b.vectors)


def _merged(first: Fitted, again: Fitted) -> Fitted:
    return replace(
        first,
        runs=(*first.runs, *again.runs),
        direction=first.direction if first.direction.effect else again.direction,
        projections=first.projections or again.projections,
    )
