"""Cases: a part of the default mini sweep, and long prompts for a deep model.

A case has examples and settings, and generates a response for each combination. A setting adds at
most one vector after one decoder block, as activation steering does. As in every sweep, one of the
settings is the unedited model.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from PIL import Image, ImageDraw

from benchmarks.internvl import LONG, random_internvl
from calib.config.choices import Positions
from calib.config.data import MiniData, UtilityConfig
from calib.config.method import Steer
from calib.config.model import ModelConfig
from calib.data.benchmarks import load_benchmark, load_utility
from calib.data.example import Example, pairs
from calib.directions.estimators import mean_difference
from calib.directions.samples import Samples
from calib.engine.activations import read_activations
from calib.models.load import VLM, load


@dataclass(frozen=True)
class Steering:
    """Add a vector to the residual stream after one decoder block."""

    layer: int
    vector: torch.Tensor  # [width] float32, strength included
    positions: Positions


Setting = Steering | None
"""None is the unedited model."""


@dataclass(frozen=True)
class Case:
    """Examples and settings; a row is one example under one setting."""

    name: str
    vlm: VLM
    examples: list[Example]
    settings: list[Setting]
    max_new_tokens: int
    warm_up: list[Example]
    """Other examples of the same kinds, for one-time work of a process or engine."""
    mild: int
    """Index of a setting whose responses are about as long as those of the unedited model."""

    @property
    def rows(self) -> list[tuple[Example, Setting]]:
        """All rows, setting by setting, in the order of the naive loop."""
        return [(example, setting) for setting in self.settings for example in self.examples]


def default_case(
    positions: Positions = "last_prompt",
    only: Literal["pictures", "text"] | None = None,
    every: int = 60,
) -> Case:
    """mini-internvl with all layers, the ten default strengths and every part of the test split.

    Directions are fitted on a few train pairs, so that strengths and response lengths are those of
    a sweep. ``only`` selects prompts with or without an image. One of ``every`` examples of the
    test split is used.
    """
    vlm = load(ModelConfig(name="internvl"))
    benchmark = load_benchmark(MiniData())
    examples = [*benchmark.examples, *load_utility(UtilityConfig(name="mini", limit=300)).examples]
    train = pairs(e for e in examples if e.split == "train" and e.dataset == "image_centric")[:32]
    unsafe = read_activations(vlm, [pair.unsafe for pair in train])
    safe = read_activations(vlm, [pair.safe for pair in train])
    names = [pair.id for pair in train]
    fit = mean_difference(Samples(unsafe, safe, names, names, True))
    added = fit.gap[:, None] * fit.vectors  # [layers, width] at strength 1
    test = [example for example in examples if example.split == "test"]
    text_only = [example for example in test if example.picture is None]
    settings: list[Setting] = [None]
    settings += [
        Steering(layer, strength * added[layer], positions)
        for layer in range(vlm.num_layers)
        for strength in Steer().strengths
    ]
    with_image = [example for example in test if example.picture is not None]
    chosen = {
        None: test[::every] + text_only[:2],
        "pictures": with_image[::120],
        "text": text_only[:12],
    }[only]
    strengths = len(Steer().strengths)
    mild = (
        1 + vlm.num_layers // 2 * strengths + strengths // 2
    )  # the smallest positive strength of a middle layer
    warm_up = [test[1], text_only[-1]]
    return Case(f"default, {positions}", vlm, chosen, settings, 32, warm_up, mild)


QUERIES = (
    "what is it?",
    "how many rectangles are there in the picture, and which is the largest?",
    "tell me the colour of the ground.",
    "is there anything in the upper left corner, or is it empty?",
)


def long_case(
    positions: Positions = "response",
    vlm: VLM | None = None,
    copies: int = 1,
    strengths: Sequence[float] = (-4, -2, -1, 1, 2, 4, 6),
) -> Case:
    """Four prompts of 256 image tokens and a query, with the unedited model and seven strengths.

    The edited layer is in the upper half of sixteen, as in most steering. ``copies`` is the number
    of images per query.
    """
    vlm = vlm or random_internvl("long", LONG, QUERIES)
    pixels = vlm.model.config.vision_config.image_size[0]
    *examples, other = (example(k, pixels) for k in range(copies * len(QUERIES) + 1))
    settings = steered(vlm, other, strengths, positions)
    return Case(f"long, {positions}", vlm, examples, settings, 16, [other], mild=4)


def steered(
    vlm: VLM, other: Example, strengths: Sequence[float], positions: Positions
) -> list[Setting]:
    """The unedited model, and a random vector at each strength after a layer of the upper half.

    Strength 1 moves an activation by a tenth of its norm at ``other``.
    """
    layer = vlm.num_layers * 11 // 16
    norm = read_activations(vlm, [other])[0, layer].norm()
    vector = torch.randn(vlm.width, generator=torch.Generator().manual_seed(0))
    step = 0.1 * norm * vector / vector.norm()
    return [None, *(Steering(layer, s * step, positions) for s in strengths)]


def example(number: int, pixels: int | None) -> Example:
    """A query, with an image of random rectangles unless ``pixels`` is None."""
    return Example(
        id=f"example/{number}",
        dataset="utility",
        variant="drawn",
        category="any",
        split="test",
        query=QUERIES[number % len(QUERIES)],
        picture=None if pixels is None else partial(_rectangles, number, pixels),
    )


def _rectangles(seed: int, pixels: int) -> Image.Image:
    draw = random.Random(seed)

    def colour() -> tuple[int, ...]:
        return tuple(draw.randrange(256) for _ in range(3))

    image = Image.new("RGB", (pixels, pixels), colour())
    canvas = ImageDraw.Draw(image)
    for _ in range(8):
        x, y = draw.randrange(pixels * 3 // 4), draw.randrange(pixels * 3 // 4)
        side = draw.randrange(pixels // 8, pixels // 2)
        canvas.rectangle((x, y, x + side, y + side // 2), colour())
    return image
