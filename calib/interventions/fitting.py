"""Examples in another form, for methods that compare what a model makes of both."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch

from calib.data.example import Example, Split
from calib.directions.direction import Direction, read_direction, write_direction
from calib.directions.fit import fit_direction, pair_set_of, require_match
from calib.directions.projections import Group, projections_file, projections_of, write_projections
from calib.directions.samples import Samples
from calib.engine.activations import read_activations
from calib.interventions.contrasts import AnswerSource, ContrastSides, contrast_sides, twins
from calib.interventions.grid import resolve_layers
from calib.models.layers import Site
from calib.models.load import VLM
from calib.models.prompt_batch import Positions
from calib.util.errors import CalibError
from calib.util.progress import row_bar


class ExampleCache:
    """Examples in another form, each made once, so that it is read once."""

    def __init__(self, make: Callable[[Example], Example]) -> None:
        self.make = make
        self._made: dict[int, tuple[Example, Example]] = {}  # by id(); holds the example alive

    def of(self, examples: Sequence[Example]) -> list[Example]:
        """Each example as it is shown."""
        for example in examples:
            if id(example) not in self._made:
                self._made[id(example)] = (example, self.make(example))
        return [self._made[id(example)][1] for example in examples]


READ_ROWS = 64
"""Prompts read at once. Always as many: a resumed run reads the very same numbers again."""


class Fitting:
    """The model, the examples of a run and what is known about them.

    Directions are kept in ``folder`` and used again by a resumed run, and by other methods of the
    same run; activations are kept in memory.
    """

    def __init__(
        self,
        vlm: VLM,
        examples: Sequence[Example],
        utility: Sequence[Example],
        baseline_answers: AnswerSource,
        folder: Path,
    ) -> None:
        self.vlm, self.examples, self.utility = vlm, examples, utility
        self.baseline_answers, self.folder = baseline_answers, folder
        self._read: dict[tuple[int, str, str, int], torch.Tensor] = {}
        self._seen: list[Example] = []  # keeps them alive, so that no two have one id()
        self._sides: dict[tuple[str, str], ContrastSides] = {}

    def layers(self, wanted: int | Sequence[int] | str) -> list[int]:
        """Layer numbers; see resolve_layers."""
        return resolve_layers(self.vlm, wanted)

    def twins(self, split: Split) -> list[Example]:
        """Safe and unsafe examples of a split that have a twin.

        Raises CalibError when the train split has none.
        """
        found = twins(self.examples, split)
        if split == "train" and not found:
            raise CalibError(
                "there are no safe/unsafe pairs in the train split, so there is nothing to fit a "
                "direction to. Raise data.limit, choose more data.parts, or give a direction with "
                "method.direction=FILE."
            )
        return found

    def sides(self, contrast: str, split: Split = "train") -> ContrastSides:
        """The examples of both sides of a contrast.

        Raises CalibError when a side of the train split is empty.
        """
        if (contrast, split) not in self._sides:
            found = contrast_sides(contrast, self.twins(split), self.baseline_answers)
            for side in ("positive", "negative"):
                if split == "train" and not getattr(found, side):
                    raise CalibError(
                        f"the {contrast} contrast has no {side} training examples, so there is "
                        "nothing to fit. Use more data (data.limit, data.parts), or another "
                        "contrast."
                    )
            self._sides[contrast, split] = found
        return self._sides[contrast, split]

    def activations(
        self,
        examples: Sequence[Example],
        layers: Sequence[int],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Activations of examples, read once each. # [examples, layers, width] float32"""

        def key(example: Example, layer: int) -> tuple[int, str, str, int]:
            return id(example), positions, site, layer

        new = {
            id(e): e for e in examples if any(key(e, layer) not in self._read for layer in layers)
        }
        if new:
            some = list(new.values())
            with row_bar("reading", len(some)) as bar:
                found = read_activations(
                    self.vlm,
                    some,
                    cast(Positions, positions),
                    READ_ROWS,
                    bar,
                    list(layers),
                    cast(Site, site),
                )
            self._seen += some
            for example, rows in zip(some, found, strict=True):
                for layer, row in zip(layers, rows, strict=True):
                    self._read[key(example, layer)] = row
        return torch.stack(
            [
                torch.stack([self._read[key(example, layer)] for layer in layers])
                for example in examples
            ]
        )

    def samples(
        self,
        contrast: str,
        split: Split = "train",
        positions: str = "last_prompt",
        site: str = "residual",
        layers: Sequence[int] | None = None,
    ) -> Samples:
        """Activations of both sides of a contrast."""
        found = self.sides(contrast, split)
        wanted = self.layers("all") if layers is None else list(layers)
        both = [*found.positive, *found.negative]
        read = self.activations(both, wanted, positions, site)
        count = len(found.positive)
        return Samples(
            read[:count], read[count:], found.positive_groups, found.negative_groups, found.paired
        )

    def direction(
        self,
        contrast: str,
        estimator: str = "mean_difference",
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> Direction:
        """One unit vector per layer, fitted to the train pairs and measured on the validation ones.

        Where these lie along it is written beside its file. A direction that is there already is
        used as it is, with or without that.

        Raises CalibError when there is nothing to fit, or the file in the run's folder is another.
        """
        name = direction_name(contrast, estimator, positions, site)
        path = self.folder / "directions" / f"{name}.safetensors"
        pair_set = pair_set_of(self.twins("train"))
        if path.exists():
            direction = read_direction(path)
            require_match(direction, self.vlm, str(path))
            _require_same_fit(direction, path, contrast, estimator, positions, site, pair_set)
            return direction
        validated = self.sides(contrast, "validation")
        held_out = None
        if validated.positive and validated.negative:
            held_out = self.samples(contrast, "validation", positions, site)
        train = self.samples(contrast, "train", positions, site)
        direction = fit_direction(
            self.vlm,
            train,
            held_out,
            contrast=contrast,
            estimator=estimator,
            positions=positions,
            site=site,
            layers=self.layers("all"),
            pair_set=pair_set,
        )
        groups = _groups("train", self.sides(contrast, "train"), train)
        if held_out is not None:
            groups += _groups("validation", validated, held_out)
        # Before the direction: where that stands, a run that was killed in between has both.
        write_projections(projections_file(path), projections_of(direction, groups))
        write_direction(path, direction)
        return direction


def direction_name(contrast: str, estimator: str, positions: str, site: str) -> str:
    """Name of the file, without its ending, that a direction fitted so is kept in."""
    return f"{contrast}-{estimator}-{positions}-{site}"


def _groups(split: Split, sides: ContrastSides, samples: Samples) -> list[Group]:
    return [
        (split, "positive", [example.id for example in sides.positive], samples.positive),
        (split, "negative", [example.id for example in sides.negative], samples.negative),
    ]


def _require_same_fit(
    direction: Direction,
    path: Path,
    contrast: str,
    estimator: str,
    positions: str,
    site: str,
    pair_set: str,
) -> None:
    for name, there, wanted in (
        ("contrast", direction.contrast, contrast),
        ("estimator", direction.estimator, estimator),
        ("read_positions", direction.read_positions, positions),
        ("site", direction.site, site),
        ("pair_set", direction.pair_set, pair_set),
    ):
        if there != wanted:
            raise CalibError(
                f"'{path}' is a direction fitted otherwise ({name}: {there}, now {wanted}). "
                "Give another folder with out=FOLDER, or delete the file to fit it again."
            )
