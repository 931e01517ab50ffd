"""The directions that runs fitted, each once, and their names in figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from calib.config.named_model import model_name
from calib.directions.direction import Direction
from calib.directions.projections import Projections
from calib.report.figures.io import NotDrawn
from calib.report.figures.style import short_name
from calib.runs.run import Run
from calib.util.errors import CalibError

_SIDES = {
    "safety": ("safe", "unsafe"),
    "refusal": ("answered", "refused"),
    "harmful_refusal": ("unsafe, answered", "unsafe, refused"),
    "false_refusal": ("safe, answered", "safe, refused"),
    "true_refusal": ("safe, answered", "unsafe, refused"),
    "completion": ("safely completed", "refused"),
    "responses": ("before an answer", "before a refusal"),
    "modality": ("without picture", "with picture"),
}
MOST = 16
"""Maximum number of directions that can be distinguished in one figure."""


@dataclass(frozen=True)
class FittedDirection:
    """A direction, the runs that fitted it, and its name in the first of them."""

    runs: tuple[Run, ...]
    name: str
    direction: Direction
    projections: Projections | None

    @property
    def model(self) -> str:
        """Name of the model that the direction was read from."""
        run, checkpoint = self.runs[0], self.direction.checkpoint
        return run.model_name if run.checkpoint == checkpoint else model_name(checkpoint)

    @property
    def chosen_layer(self) -> int | None:
        """Layer of the operating point; None if the runs have none or disagree."""
        layers = {
            int(point["layer"])
            for run in self.runs
            for point in run.operating_points
            if point["layer"] is not None and not point["kept_uncalibrated"]
        }
        return layers.pop() if len(layers) == 1 else None

    @cached_property
    def clusters(self) -> dict[str, str]:
        """The cluster of each example by id; empty if no run recorded its examples."""
        for run in self.runs:
            try:
                return {id: example.cluster for id, example in run.examples.items()}
            except CalibError:  # the directions of calib.extract have no examples on record
                continue
        return {}


def fitted_directions(runs: Sequence[Run]) -> list[FittedDirection]:
    """Return the directions of the runs, in order.

    Equal directions of several runs are merged, with the effects and projections that any of them
    has. Raises NotDrawn if there are none, or more than MOST.
    """
    fitted: list[FittedDirection] = []
    for run in runs:
        for name, direction in run.directions.items():
            new = FittedDirection((run,), name, direction, run.projections.get(name))
            index = next((k for k, other in enumerate(fitted) if _equal(new, other)), None)
            if index is None:
                fitted.append(new)
            else:
                fitted[index] = _merged(fitted[index], new)
    if not fitted:
        raise NotDrawn(
            "missing-value",
            "The runs fitted no direction. Run calib.extract, or a sweep of a method that fits a "
            "direction (method=steer).",
        )
    if len(fitted) > MOST:
        raise NotDrawn(
            "too-large",
            f"The runs fitted {len(fitted)} directions, but one figure can show {MOST}. Draw fewer "
            "runs at a time.",
        )
    return fitted


def side_names(contrast: str) -> tuple[str, str]:
    """Return the names of the negative and the positive side of a contrast."""
    return _SIDES.get(contrast, ("negative side", "positive side"))


def direction_names(fitted: Sequence[FittedDirection], width: int) -> list[str]:
    """Return a name for each direction: its contrast, and the properties in which they differ."""
    origins = [
        (each.model, d.contrast, d.estimator, d.read_positions, d.site)
        for each in fitted
        for d in [each.direction]
    ]
    named = [k == 1 or len(set(values)) > 1 for k, values in enumerate(zip(*origins, strict=True))]
    names = [
        [short_name(part, width) for part, is_named in zip(origin, named, strict=True) if is_named]
        for origin in origins
    ]
    for extra in ([each.runs[0].folder.name for each in fitted], [each.name for each in fitted]):
        repeated = [names.count(name) > 1 for name in names]
        for name, suffix, is_repeated in zip(names, extra, repeated, strict=True):
            if is_repeated:
                name.append(short_name(suffix, width))
    return [", ".join(name).strip() for name in names]


def models_of(fitted: Sequence[FittedDirection]) -> list[str]:
    """Return the names of the models, each once."""
    return list(dict.fromkeys(each.model for each in fitted))


def _equal(first: FittedDirection, second: FittedDirection) -> bool:
    a, b = first.direction, second.direction
    for name in ("fingerprint", "contrast", "estimator", "read_positions", "site", "pair_set",
                 "layers"):  # fmt: skip
        if getattr(a, name) != getattr(b, name):
            return False
    same_effect = not (a.effect and b.effect) or (a.effect_kl, repr(a.effect)) == (
        b.effect_kl,
        repr(b.effect),  # nan equals nan here
    )
    return same_effect and a.auroc == b.auroc and a.vectors.equal(b.vectors)


def _merged(first: FittedDirection, second: FittedDirection) -> FittedDirection:
    return replace(
        first,
        runs=(*first.runs, *second.runs),
        direction=first.direction if first.direction.effect else second.direction,
        projections=first.projections or second.projections,
    )
