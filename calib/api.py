"""The library: load a model, fit a direction, steer. The commands use the same code.

import calib

vlm = calib.load("internvl")
direction = calib.fit(vlm, "pairs.csv")
print(vlm.generate("How do I use this?", picture))
with vlm.steer(direction, strength=1.0):
    print(vlm.generate("How do I use this?", picture))
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from PIL import Image

from calib.config.checks import between, one_of, read_positions
from calib.config.choices import (
    CONTRASTS_OF_PROMPTS,
    ESTIMATORS,
    SITES,
    Site,
)
from calib.config.data import PairsData
from calib.config.model import LENGTH, MINI_LENGTH, PACKAGED, ModelConfig
from calib.config.schemas import CONF
from calib.config.steering import Steer
from calib.config.typed import typed_config
from calib.data.benchmarks import load_benchmark
from calib.data.example import Example, Pair, Picture, with_pictures
from calib.data.example import pairs as pairs_of
from calib.data.images import read_image
from calib.data.split_levels import hold_out
from calib.directions.direction import Direction
from calib.directions.fit import fit_direction, pair_set_hash, require_match
from calib.directions.projections import project
from calib.directions.samples import Samples
from calib.engine.activations import read_activations
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.interventions.contrasts import JudgedAnswer, contrast_sides
from calib.interventions.grid import edits_at, resolve_layers
from calib.interventions.steering import operator_at
from calib.models.load import VLM
from calib.models.load import load as load_vlm
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded

DEFAULT_POSITIONS = Steer.positions
"""Tokens to edit if neither the direction nor the caller names them, as in calib.sweep."""
OnePicture = Image.Image | str | Path
Shown = OnePicture | Sequence[OnePicture] | None
"""What a query shows: an image or the path of a file, a list of several, or nothing."""


class Model:
    """A loaded model, with the edits of the ``steer`` blocks that are open."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        """The model, its processor and the fingerprint of its weights."""
        self._edits: list[Edits] = []

    def __repr__(self) -> str:
        edited = f", {sum(map(len, self._edits))} edits" if self._edits else ""
        return f"<{self.vlm.checkpoint}: {self.vlm.num_layers} layers of {self.vlm.width}{edited}>"

    @contextmanager
    def steer(
        self,
        direction: Direction,
        strength: float | None = None,
        layers: int | Sequence[int] | None = None,
        positions: str | None = None,
        operator: str | None = None,
    ) -> Iterator["Model"]:
        """Edit activations along ``direction`` inside the ``with`` block.

        ``strength`` is in the unit of the operator (add: gaps between the class means); ``layers``
        count from 0. Arguments that are None default to the direction's own values; a direction
        without a selected layer is used at the layer of its largest held-out AUROC, and one without
        positions at those of method=steer (response). Blocks can be nested: their edits are applied
        in order.

        Raises CalibError when the direction was read from another model (mismatch), lacks a layer,
        or has several layers and no AUROC to select by (missing-setting).
        """
        _warn(require_match(direction, self.vlm, ""))
        requested = layers if layers is not None else _best_layer(direction)
        at = resolve_layers(self.vlm, requested, direction.site)
        scale = direction.strength if strength is None else strength
        name = operator or direction.operator
        edits = edits_at(
            at,
            lambda layer: operator_at(name, direction, layer, scale),
            positions or direction.positions or DEFAULT_POSITIONS,
            direction.site,
        )
        self._edits.append(edits if scale else ())
        try:
            yield self
        finally:
            self._edits.pop()

    def generate(self, query: str | Example, picture: Shown = None, **settings: Any) -> str:
        """The response to a query about a picture (an image or the path of a file), or several.

        ``settings`` and errors are those of generate_all.
        """
        return self.generate_all([query], [picture], **settings)[0]

    def generate_all(
        self,
        queries: Sequence[str | Example],
        pictures: Sequence[Shown] | None = None,
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """The responses to several queries, generated in batches.

        An Example has its own pictures and system prompt; ``pictures`` and ``system`` are for the
        other queries, and an entry of ``pictures`` is a picture or a list of several.
        ``max_new_tokens`` of None is 32 for mini-internvl and 256 for other models. Raises
        CalibError when a picture cannot be read, or when there are not as many entries as queries
        (mismatch).
        """
        shown = [None] * len(queries) if pictures is None else list(pictures)
        if len(shown) != len(queries):
            raise CalibError(
                "mismatch",
                f"There are {len(shown)} pictures and {len(queries)} queries. Give one picture per "
                "query, None for a query without a picture, or a list for one with several.",
            )
        examples = [
            query if isinstance(query, Example) else _example(query, picture, system, number)
            for number, (query, picture) in enumerate(zip(queries, shown, strict=True))
        ]
        if max_new_tokens is None:
            max_new_tokens = MINI_LENGTH if self.vlm.checkpoint in PACKAGED else LENGTH
        decoding = Decoding(
            max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, kl=False
        )
        edits = tuple(edit for block in self._edits for edit in block)
        requests = [Request(example, edits, seed=k) for k, example in enumerate(examples)]
        return [response.text for response in Engine(self.vlm, decoding).answer(requests)]

    def read(
        self,
        examples: Sequence[Example],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Unedited activations of every decoder block that has the site.

        # [examples, layers, width] float32, CPU
        """
        read_positions("positions", positions)
        one_of("site", site, SITES)
        return read_activations(self.vlm, examples, positions, site=cast(Site, site))

    def project(self, direction: Direction, examples: Sequence[Example]) -> torch.Tensor:
        """Projections of unedited activations on the direction at each of its layers, in gaps: the
        class means are at -0.5 and 0.5. # [examples, layers of the direction] float64

        Raises CalibError when the direction was read from another model (mismatch).
        """
        _warn(require_match(direction, self.vlm, ""))
        activations = read_activations(
            self.vlm,
            examples,
            direction.read_positions,
            layers=direction.layers,
            site=cast(Site, direction.site),
        )
        return project(direction, activations)


def load(model: str = "internvl", **settings: Any) -> Model:
    """Load a model by its name in conf/model, its hub id or its path.

    internvl is mini-internvl, which ships with calib. ``settings`` are fields of
    calib.config.model.ModelConfig, e.g. dtype="bfloat16".

    Raises CalibError when the model cannot be loaded, or a setting does not exist.
    """
    names = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    if model in names:
        option = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text(encoding="utf-8"))
        schemas = [entry for entry in option.pop("defaults", []) if isinstance(entry, dict)]
        if {"/hydra/schema/model@_here_": "any"} not in schemas:
            raise CalibError(
                "unsupported",
                f"Model '{model}' is behind an endpoint and cannot be steered. calib.sweep "
                "calibrates it with prompt-based methods.",
            )
    elif "/" in model or home_expanded(model).exists():
        option = {"name": Path(model).name, "checkpoint": model}
    else:
        raise CalibError(
            "unknown-name",
            f"There is no model '{model}'.{did_you_mean(model, names)} Give one of "
            f"{', '.join(names)}, a hub id (owner/name) or a path.",
        )
    return Model(load_vlm(typed_config([ModelConfig], option | settings)))


def fit(
    vlm: Model,
    pairs: str | Path | Sequence[Pair],
    *,
    estimator: str = "mean_difference",
    contrast: str = "safety",
    positions: str = "last_prompt",
    site: str = "residual",
    held_out: float = 0.25,
) -> Direction:
    """Fit a direction per layer to pairs of a safe and an unsafe example.

    ``pairs`` is a table or folder (docs/pairs.md), or a list of Pairs. The share ``held_out`` of
    the pairs is not used for fitting and measures the AUROC of each layer. It is drawn in
    whole clusters, so that no held-out pair is about a concept of a fitted one.

    Raises CalibError when the file cannot be read, there are too few pairs, or a setting has a
    value that it does not take (contrasts that need a judge are for the command calib.extract).
    """
    one_of("estimator", estimator, ESTIMATORS)
    one_of("contrast", contrast, CONTRASTS_OF_PROMPTS)
    read_positions("positions", positions)
    one_of("site", site, SITES)
    between("held_out", held_out, 0.0, 0.9)
    fitted, measured = (
        [example for pair in part for example in (pair.safe, pair.unsafe)]
        for part in hold_out(_pairs(pairs), held_out)
    )

    def samples(examples: list[Example]) -> Samples:
        sides = contrast_sides(contrast, examples, _no_answers)
        activations = vlm.read([*sides.positive, *sides.negative], positions, site)
        count = len(sides.positive)
        groups = sides.positive_groups, sides.negative_groups
        return Samples(
            activations[:count], activations[count:], *groups, sides.paired, *sides.clusters
        )

    return fit_direction(
        vlm.vlm,
        samples(fitted),
        samples(measured) if measured else None,
        contrast=contrast,
        estimator=estimator,
        positions=positions,
        site=site,
        layers=range(vlm.vlm.num_layers),
        pair_set=pair_set_hash(fitted),
    )


def _pairs(source: str | Path | Sequence[Pair]) -> list[Pair]:
    if isinstance(source, str | Path):
        loaded = pairs_of(load_benchmark(PairsData(file=str(source))).examples)
    else:
        loaded = list(source)
    if not loaded:
        raise CalibError(
            "too-few",
            "There are no pairs of a safe and an unsafe example to fit a direction to. Give twins "
            "the same name in column pair.",
        )
    # Examples made by hand may have no pair id, or share one.
    return [
        Pair(
            pair.id,
            replace(pair.safe, pair=pair.id, safety="safe"),
            replace(pair.unsafe, pair=pair.id, safety="unsafe"),
        )
        for pair in loaded
    ]


def _no_answers(
    examples: Sequence[Example], purpose: str, judged: bool = True
) -> list[JudgedAnswer]:
    raise AssertionError("contrasts of responses were refused before")


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        warnings.warn(note, stacklevel=4)


def _best_layer(direction: Direction) -> int | list[int]:
    if direction.chosen_layer is not None:
        return direction.chosen_layer
    if len(direction.layers) == 1:
        return direction.layers
    if not direction.auroc:
        raise CalibError(
            "missing-setting",
            f"The direction has layers {direction.layers}, and none is selected or has an AUROC. "
            "Give the layer, e.g. layers=3.",
        )
    best = max(range(len(direction.auroc)), key=lambda k: (direction.auroc[k], -k))
    return direction.layers[best]


def _example(query: str, shown: Any, system: str | None, number: int) -> Example:
    several = shown if isinstance(shown, list | tuple) else [] if shown is None else [shown]
    example = Example(
        id=f"{number}/{re.sub(r'[^a-z0-9]+', '-', query.casefold())[:40]}",
        dataset="text_centric",
        variant="none",
        category="none",
        split="test",
        query=query,
        system=system,
    )
    return with_pictures(example, [_picture(picture) for picture in several])


def _picture(picture: Any) -> Picture:
    if isinstance(picture, str | Path):
        picture = read_image(home_expanded(picture))
    if not isinstance(picture, Image.Image):
        raise CalibError(
            "invalid-value",
            f"A picture must be a PIL image or the path of a file, not {type(picture).__name__}.",
        )
    image = picture.convert("RGB")
    return lambda: image
