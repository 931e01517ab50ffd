"""The data that methods are fitted to: pairs, activations, directions, baseline answers."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch

from calib.config.choices import SPLITS, Site, Split
from calib.config.method import Activation
from calib.data.example import Example
from calib.directions.direction import Direction, read_direction, write_direction
from calib.directions.estimators import estimate
from calib.directions.fit import fit_direction, pair_set_hash, require_match
from calib.directions.part_table import parts_path, read_parts, sentence, write_parts
from calib.directions.parts import ContrastExamples, part_separations
from calib.directions.projections import (
    LabelledActivations,
    project_groups,
    projections_path,
    write_projections,
)
from calib.directions.samples import Samples, at_layers, separated
from calib.engine.reading import ModelReader, Reader
from calib.interventions.contrasts import (
    AnswerSource,
    ContrastSides,
    contrast_sides,
    empty_side,
    twins,
)
from calib.interventions.grid import LayerGrid, resolve_layers
from calib.models.load import VLM
from calib.util.errors import CalibError
from calib.util.progress import row_bar

READ_ROWS = 64
"""Prompts per batch when activations are read. It is fixed, so that a resumed run reads numbers
that are identical to the last bit."""


class Fitting:
    """The model, the examples of a run, and everything that methods compute from them.

    Directions are saved in ``folder``, where a resumed run and the other methods of the run find
    them. Activations are cached in memory.
    """

    def __init__(
        self,
        vlm: VLM,
        examples: Sequence[Example],
        utility: Sequence[Example],
        baseline_answers: AnswerSource,
        folder: Path,
        reader: Reader | None = None,
    ) -> None:
        """``reader`` reads activations; None reads them with the weights of ``vlm``."""
        self.reader = reader or ModelReader(vlm)
        self.vlm, self.examples, self.utility = vlm, examples, utility
        self.baseline_answers, self.folder = baseline_answers, folder
        self._activations: dict[tuple[int, str, str, int], torch.Tensor] = {}
        self._alive: list[Example] = []  # keys hold id(example), which must not be reused
        self._sides: dict[tuple[str, str], ContrastSides] = {}
        self.part_notes: dict[str, str] = {}
        """For each direction, by name, a sentence about whether the parts agree about it, and one
        about layers without it."""

    def layers(self, layers: int | Sequence[int] | str, site: str = "residual") -> list[int]:
        """Layer numbers from a configuration's value; see resolve_layers."""
        return resolve_layers(self.vlm, layers, site)

    def layers_of(self, direction: Direction, layers: int | Sequence[int] | str) -> list[int]:
        """Layer numbers from a configuration's value; of a band, those that the direction has."""
        numbers = self.layers(layers, direction.site)
        if isinstance(layers, str):
            return [layer for layer in numbers if layer in direction.layers]
        return numbers

    def layer_grid(self, config: Activation, band: Sequence[int] | None = None) -> LayerGrid:
        """The grid of a method's layers; ``band`` replaces the layers of the configuration.

        Raises CalibError (invalid-value) for a layer that the model or the band does not have.
        """
        layers = self.layers(config.layers) if band is None else band
        return LayerGrid.of(layers, config.all_layers_at_once, config.first_layers)

    def twins(self, split: Split) -> list[Example]:
        """Safe and unsafe examples of a split that have a twin.

        Raises CalibError (too-few) if the train split has none.
        """
        examples = twins(self.examples, split)
        if split == "train" and not examples:
            elsewhere = [split for split in SPLITS if twins(self.examples, split)]
            advice = (
                f"They are in {' and '.join(elsewhere)} only: put some into train"
                if elsewhere
                else "The data has none in any split: use data with twins"
            )
            raise CalibError(
                "too-few",
                "there are no safe/unsafe pairs in the train split, so no direction can be fitted. "
                f"{advice}; or use a direction that was fitted on other data (method=steer "
                "method.direction=FILE), or a method that only changes the prompt.",
            )
        return examples

    def sides(self, contrast: str, split: Split = "train") -> ContrastSides:
        """The examples of both sides of a contrast.

        Raises CalibError (too-few) if a side of the train split is empty.
        """
        if (contrast, split) not in self._sides:
            sides = contrast_sides(contrast, self.twins(split), self.baseline_answers)
            for side in ("positive", "negative"):
                if split == "train" and not getattr(sides, side):
                    count = len(self.twins(split))
                    raise CalibError("too-few", empty_side(contrast, side, count))
            self._sides[contrast, split] = sides
        return self._sides[contrast, split]

    def activations(
        self,
        examples: Sequence[Example],
        layers: Sequence[int],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Activations of the unedited model; those read before come from the cache.

        If any example of the train or validation pairs is missing, all pairs of that split are
        read. The batches that an example is read in, and thus its last bits, then do not depend on
        what was read before, so that a resumed run, which reads fitted directions from their files,
        fits the other methods to the same numbers.

        # [examples, layers, width] float32
        """

        def key(example: Example, layer: int) -> tuple[int, str, str, int]:
            return id(example), positions, site, layer

        missing = {
            id(example): example
            for example in examples
            if any(key(example, layer) not in self._activations for layer in layers)
        }
        for unread in self._reads(missing):
            with row_bar("reading", len(unread)) as bar:
                rows = self.reader.read_activations(
                    unread,
                    positions,
                    READ_ROWS,
                    bar,
                    list(layers),
                    cast(Site, site),
                )
            self._alive += unread
            for example, row in zip(unread, rows, strict=True):
                for layer, activation in zip(layers, row, strict=True):
                    self._activations[key(example, layer)] = activation
        return torch.stack(
            [
                torch.stack([self._activations[key(example, layer)] for layer in layers])
                for example in examples
            ]
        )

    def _reads(self, missing: Mapping[int, Example]) -> list[list[Example]]:
        """The examples to read together: whole splits of pairs, then the other missing examples."""
        reads, others = [], dict(missing)
        for pairs in self._fitted_pairs:
            if missing.keys() & pairs.keys():
                reads.append(list(pairs.values()))
                others = {k: example for k, example in others.items() if k not in pairs}
        return [*reads, list(others.values())] if others else reads

    @functools.cached_property
    def _fitted_pairs(self) -> list[dict[int, Example]]:
        """The pairs of the train and of the validation split by id(), unsafe examples first."""
        splits = []
        for split in ("train", "validation"):
            both = sorted(twins(self.examples, split), key=lambda each: each.safety == "safe")
            splits.append({id(example): example for example in both})
        return splits

    def samples(
        self,
        contrast: str,
        split: Split = "train",
        positions: str = "last_prompt",
        site: str = "residual",
        layers: Sequence[int] | None = None,
    ) -> Samples:
        """Activations of both sides of a contrast, at all layers with the site by default."""
        sides = self.sides(contrast, split)
        numbers = self.layers("all", site) if layers is None else list(layers)
        count = len(sides.positive)
        activations = self.activations([*sides.positive, *sides.negative], numbers, positions, site)
        return Samples(
            activations[:count],
            activations[count:],
            sides.positive_groups,
            sides.negative_groups,
            sides.paired,
            *sides.clusters,
        )

    def direction(
        self,
        contrast: str,
        estimator: str = "mean_difference",
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> Direction:
        """One unit vector per layer, fitted to train pairs and evaluated on validation pairs.

        The direction is written to a file of the run's folder, with the projections of the examples
        on it in a second file and, where there are several parts, the separation by part in a
        third. If the direction's file exists already, it is read instead. Layers at which the class
        means are equal are left out, and a note says so.

        Raises CalibError (too-few) if there is nothing to fit, or (mismatch) if the file holds a
        direction that was fitted differently.
        """
        name = direction_name(contrast, estimator, positions, site)
        path = self.folder / "directions" / f"{name}.safetensors"
        pair_set = pair_set_hash(self.twins("train"))
        if path.exists():
            direction = read_direction(path)
            require_match(direction, self.vlm, str(path))
            _require_same_fit(direction, path, contrast, estimator, positions, site, pair_set)
            self._note_parts(direction, path)
            return direction
        validation_sides = self.sides(contrast, "validation")
        validation = None
        if validation_sides.positive and validation_sides.negative:
            validation = self.samples(contrast, "validation", positions, site)
        train = self.samples(contrast, "train", positions, site)
        layers = self.layers("all", site)
        if rows := separated(train):  # otherwise, the estimator raises
            train = at_layers(train, rows)
            validation = validation and at_layers(validation, rows)
            layers = [layers[row] for row in rows]
        direction = fit_direction(
            self.vlm,
            train,
            validation,
            contrast=contrast,
            estimator=estimator,
            positions=positions,
            site=site,
            layers=layers,
            pair_set=pair_set,
        )
        groups = _groups("train", self.sides(contrast, "train"), train)
        if validation is not None:
            groups += _groups("validation", validation_sides, validation)
            separations = part_separations(
                direction,
                _contrast_examples(self.sides(contrast, "train"), train),
                _contrast_examples(validation_sides, validation),
                lambda samples: estimate(samples, estimator),
            )
            if separations:
                write_parts(parts_path(path), separations)
        # The direction is written last: a run killed in between fits all files again.
        write_projections(projections_path(path), project_groups(direction, groups))
        write_direction(path, direction)
        self._note_parts(direction, path)
        return direction

    def _note_parts(self, direction: Direction, path: Path) -> None:
        every = self.layers("all", direction.site)
        if absent := [layer for layer in every if layer not in direction.layers]:
            self.part_notes[f"{path.stem} layers"] = (
                f"{direction.contrast} direction ({direction.estimator}): none at layers "
                f"{', '.join(map(str, absent))}, where both sides have the same mean activation at "
                f"{direction.read_positions}"
            )
        table = parts_path(path)
        if table.is_file():  # runs of earlier versions and of a single part have none
            name = f"{direction.contrast} direction ({direction.estimator})"
            if text := sentence(name, read_parts(table), table):
                self.part_notes[path.stem] = text


def direction_name(contrast: str, estimator: str, positions: str, site: str) -> str:
    """Name of a fitted direction's file, without its extension."""
    return f"{contrast}-{estimator}-{positions}-{site}"


def _contrast_examples(sides: ContrastSides, samples: Samples) -> ContrastExamples:
    return ContrastExamples(sides.positive, sides.negative, samples)


def _groups(split: Split, sides: ContrastSides, samples: Samples) -> list[LabelledActivations]:
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
    for name, stored, expected in (
        ("contrast", direction.contrast, contrast),
        ("estimator", direction.estimator, estimator),
        ("read_positions", direction.read_positions, positions),
        ("site", direction.site, site),
        ("pair_set", direction.pair_set, pair_set),
    ):
        if stored != expected:
            raise CalibError(
                "mismatch",
                f"'{path}' holds a direction that was fitted differently: its {name} is {stored}, "
                f"this run's is {expected}. Give another folder with out=FOLDER, or delete the "
                "file to fit it again.",
            )
