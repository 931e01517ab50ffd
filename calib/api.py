"""calib from Python: load a model, fit a direction, steer. The same code that the commands run.

import calib

vlm = calib.load("internvl")
direction = calib.extract(vlm, "pairs.csv")
print(vlm.generate("How do I use this?", picture))
with vlm.steer(direction, strength=1.0):
    print(vlm.generate("How do I use this?", picture))
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from calib.config.checks import between, one_of
from calib.config.choices import ESTIMATORS, READ_POSITIONS, SITES, Positions, Site
from calib.config.data import PairsData
from calib.config.model import ModelConfig
from calib.config.schemas import CONF
from calib.data.benchmarks import load_benchmark
from calib.data.example import Example, Pair
from calib.data.example import pairs as pairs_of
from calib.data.images import read_image
from calib.data.splits import split_of
from calib.directions.direction import Direction
from calib.directions.fit import fit_direction, pair_set_of, require_match
from calib.directions.projections import along
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

CONTRASTS = ("safety", "modality")
"""Contrasts that need no judge; the others are fitted by the command calib.extract."""
POSITIONS = "last_prompt"
"""Edited tokens where neither the direction nor the caller says which, as in calib.sweep."""


class Model:
    """A loaded model and the edits that are made to it at the moment."""

    def __init__(self, vlm: VLM) -> None:
        self.vlm = vlm
        """The model, its processor and what identifies them."""
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
        """Edit activations along ``direction`` inside of the ``with`` block.

        ``strength`` is in the unit of the operator (add: gaps between the class means), ``layers``
        are 0-based. What is not given is the direction's own; a direction without a chosen layer is
        used at the layer of its largest held-out AUROC. Blocks may be nested: their edits are made
        one after the other.

        Raises CalibError when the direction was read from another model, lacks a layer or has none
        to choose by.
        """
        require_match(direction, self.vlm, "given")
        wanted = layers if layers is not None else _best_layer(direction)
        at = resolve_layers(self.vlm, wanted)
        amount = direction.strength if strength is None else strength
        name = operator or direction.operator
        where = positions or direction.positions or POSITIONS
        edits = edits_at(
            None,
            at,
            lambda layer: operator_at(name, direction, layer, amount),
            where,
            direction.site,
        )
        self._edits.append(edits if amount else ())
        try:
            yield self
        finally:
            self._edits.pop()

    def generate(
        self, query: str | Example, picture: Image.Image | str | Path | None = None, **how: Any
    ) -> str:
        """The response to one query about a picture (an image, or the path of one).

        ``how`` as in generate_all, whose errors it raises too.
        """
        return self.generate_all([query], [picture], **how)[0]

    def generate_all(
        self,
        queries: Sequence[str | Example],
        pictures: Sequence[Image.Image | str | Path | None] | None = None,
        *,
        system: str | None = None,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """The responses to several queries, answered together.

        An Example brings its own picture and system prompt. Raises CalibError for pictures that
        cannot be read, or are not as many as the queries.
        """
        shown = [None] * len(queries) if pictures is None else list(pictures)
        if len(shown) != len(queries):
            raise CalibError(
                f"{len(shown)} pictures stand against {len(queries)} queries. Give one for each, "
                "None where there is none."
            )
        examples = [
            one if isinstance(one, Example) else _example(one, about, system, k)
            for k, (one, about) in enumerate(zip(queries, shown, strict=True))
        ]
        how = Decoding(max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, kl=False)
        edits = tuple(edit for some in self._edits for edit in some)
        asked = [Request(example, edits, seed=k) for k, example in enumerate(examples)]
        return [response.text for response in Engine(self.vlm, how).answer(asked)]

    def read(
        self,
        examples: Sequence[Example],
        positions: str = "last_prompt",
        site: str = "residual",
    ) -> torch.Tensor:
        """Activations of every block, unedited. # [examples, layers, width] float32, on the CPU"""
        one_of("positions", positions, READ_POSITIONS)
        one_of("site", site, SITES)
        return read_activations(
            self.vlm, examples, cast(Positions, positions), site=cast(Site, site)
        )

    def project(self, direction: Direction, examples: Sequence[Example]) -> torch.Tensor:
        """Where examples lie along the direction at each of its layers, unedited, in gaps: 0 is
        halfway between the class means, which lie at -0.5 and 0.5.
        # [examples, layers of the direction] float64

        Raises CalibError when the direction was read from another model.
        """
        require_match(direction, self.vlm, "given")
        read = self.read(examples, direction.read_positions, direction.site)
        return along(direction, read[:, direction.layers])


def load(model: str = "internvl", **settings: Any) -> Model:
    """The model of that name in conf/model (internvl is the mini-internvl that comes with calib),
    or of a hub id or path; ``settings`` are those of ModelConfig, e.g. dtype="bfloat16".

    Raises CalibError when it cannot be loaded, or a setting does not exist.
    """
    known = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    if model in known:
        chosen = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text(encoding="utf-8"))
        schemas = [one for one in chosen.pop("defaults", []) if isinstance(one, dict)]
        if {"/hydra/schema/model@_here_": "any"} not in schemas:
            raise CalibError(
                f"model '{model}' answers behind an endpoint and cannot be steered. "
                "calib.sweep calibrates it by prompt-based methods."
            )
    elif "/" in model or Path(model).expanduser().exists():
        chosen = {"name": Path(model).name, "checkpoint": model}
    else:
        raise CalibError(
            f"There is no model '{model}'.{did_you_mean(model, known)} Give one of "
            f"{', '.join(known)}, a hub id (owner/name) or a path."
        )
    try:
        merged = OmegaConf.merge(OmegaConf.structured(ModelConfig), chosen, settings)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise CalibError(f"calib.load: {str(error).splitlines()[0]}.") from error
    assert isinstance(config, ModelConfig)
    return Model(load_vlm(config))


def extract(
    vlm: Model,
    pairs: str | Path | Sequence[Pair],
    *,
    estimator: str = "mean_difference",
    contrast: str = "safety",
    positions: str = "last_prompt",
    site: str = "residual",
    held_out: float = 0.25,
) -> Direction:
    """One direction per layer, fitted to pairs of a safe and an unsafe example.

    ``pairs`` is a table or folder of your own (docs/pairs.md) or a list of Pairs. A share
    ``held_out`` of them fits nothing and measures the AUROC of each layer; it is drawn by hashing
    what queries share, so that none is like one that was fitted to. Raises CalibError for a file
    that cannot be read, no pairs, or a contrast that needs a judge.
    """
    one_of("estimator", estimator, ESTIMATORS)
    one_of("contrast", contrast, CONTRASTS)
    one_of("positions", positions, READ_POSITIONS)
    one_of("site", site, SITES)
    between("held_out", held_out, 0.0, 0.9)
    found = _pairs(pairs)
    kept: dict[bool, list[Example]] = {True: [], False: []}
    for pair in found:
        out = split_of(pair.safe.pair or pair.id, held_out, 0.0) == "train"
        kept[out] += [pair.safe, pair.unsafe]
    if not kept[False]:
        raise CalibError(f"{len(found)} pairs are too few to hold any out. Give held_out=0.")

    def samples(examples: list[Example]) -> Samples:
        sides = contrast_sides(contrast, examples, _no_answers)
        read = vlm.read([*sides.positive, *sides.negative], positions, site)
        count = len(sides.positive)
        groups = sides.positive_groups, sides.negative_groups
        return Samples(read[:count], read[count:], *groups, sides.paired)

    return fit_direction(
        vlm.vlm,
        samples(kept[False]),
        samples(kept[True]) if kept[True] else None,
        contrast=contrast,
        estimator=estimator,
        positions=positions,
        site=site,
        layers=range(vlm.vlm.num_layers),
        pair_set=pair_set_of(kept[False]),
    )


def _pairs(given: str | Path | Sequence[Pair]) -> list[Pair]:
    if isinstance(given, str | Path):
        found = pairs_of(load_benchmark(PairsData(file=str(given))).examples)
    else:
        found = list(given)
    if not found:
        raise CalibError(
            "There are no pairs of a safe and an unsafe example to fit a direction to. Give twins "
            "one name in column pair."
        )
    # A pair of its own for each: examples made by hand may have none, or share one.
    return [
        Pair(
            pair.id,
            replace(pair.safe, pair=pair.id, safety="safe"),
            replace(pair.unsafe, pair=pair.id, safety="unsafe"),
        )
        for pair in found
    ]


def _no_answers(
    examples: Sequence[Example], purpose: str, judged: bool = True
) -> list[JudgedAnswer]:
    raise AssertionError("contrasts that ask the model are refused before")


def _best_layer(direction: Direction) -> int | list[int]:
    if direction.chosen_layer is not None:
        return direction.chosen_layer
    if len(direction.layers) == 1:
        return direction.layers
    if not direction.auroc:
        raise CalibError(
            f"the direction has layers {direction.layers} and none was chosen or measured. Say "
            "which: layers=3."
        )
    best = max(range(len(direction.auroc)), key=lambda k: (direction.auroc[k], -k))
    return direction.layers[best]


def _example(query: str, picture: Any, system: str | None, number: int) -> Example:
    if isinstance(picture, str | Path):
        picture = read_image(Path(picture).expanduser())
    if picture is not None and not isinstance(picture, Image.Image):
        raise CalibError(
            f"a picture is a PIL image or the path of a file, not {type(picture).__name__}."
        )
    shown = picture.convert("RGB") if picture is not None else None
    return Example(
        id=f"{number}/{re.sub(r'[^a-z0-9]+', '-', query.casefold())[:40]}",
        dataset="text_centric",
        variant="none",
        category="none",
        split="test",
        query=query,
        picture=(lambda: shown) if shown is not None else None,
        system=system,
    )
