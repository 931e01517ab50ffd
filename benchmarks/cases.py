"""The two cases: a slice of the default mini sweep, and prompts that are long for a deep model.

Both hold examples, and settings that every example is answered under: at most one vector each,
added after one decoder block, as activation steering does. The unedited model is one of the
settings, as in every sweep.
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
    """Every example is answered under every setting."""

    name: str
    vlm: VLM
    examples: list[Example]
    settings: list[Setting]
    max_new_tokens: int
    warm_up: list[Example]
    """Other examples of the same kinds, for what is done once per process or run."""
    mild: int
    """Place of a setting whose answers are about as long as the unedited model's."""

    @property
    def rows(self) -> list[tuple[Example, Setting]]:
        """All rows, those of one setting side by side: the order of the naive loop."""
        return [(example, setting) for setting in self.settings for example in self.examples]


def default_case(
    positions: Positions = "last_prompt",
    only: Literal["pictures", "text"] | None = None,
    every: int = 60,
) -> Case:
    """mini-internvl, all layers, the ten default strengths; every part of the test split.

    Directions are fitted to a few train pairs, so that strengths mean what they do in a sweep and
    answers end where they do there. ``only`` takes prompts with pictures, or without, alone;
    ``every`` how far apart the examples are that are taken from the test split.
    """
    vlm = load(ModelConfig(name="internvl"))
    benchmark = load_benchmark(MiniData())
    asked = [*benchmark.examples, *load_utility(UtilityConfig(name="mini", limit=300)).examples]
    train = pairs(e for e in asked if e.split == "train" and e.dataset == "image_centric")[:32]
    unsafe = read_activations(vlm, [pair.unsafe for pair in train])
    safe = read_activations(vlm, [pair.safe for pair in train])
    names = [pair.id for pair in train]
    fit = mean_difference(Samples(unsafe, safe, names, names, True))
    added = fit.gap[:, None] * fit.vectors  # [layers, width] at strength 1
    test = [example for example in asked if example.split == "test"]
    plain = [example for example in test if example.picture is None]
    settings: list[Setting] = [None]
    settings += [
        Steering(layer, strength * added[layer], positions)
        for layer in range(vlm.num_layers)
        for strength in Steer().strengths
    ]
    shown = [example for example in test if example.picture is not None]
    asked = {None: test[::every] + plain[:2], "pictures": shown[::120], "text": plain[:12]}[only]
    strengths = len(Steer().strengths)
    mild = 1 + vlm.num_layers // 2 * strengths + strengths // 2  # a middle layer's smallest above 0
    return Case(f"default, {positions}", vlm, asked, settings, 32, [test[1], plain[-1]], mild)


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
    """Four prompts of 256 image tokens and a query, under the unedited model and seven strengths.

    One layer in the upper half of sixteen, where steering is usually done. ``copies`` asks about
    that many pictures per query.
    """
    vlm = vlm or random_internvl("long", LONG, QUERIES)
    layer = vlm.num_layers * 11 // 16
    *examples, other = (_pictured(vlm, k) for k in range(copies * len(QUERIES) + 1))
    # The scale of the stream where the vector is added: strength 1 moves it by a tenth.
    norm = read_activations(vlm, [other])[0, layer].norm()
    drawn = torch.randn(vlm.width, generator=torch.Generator().manual_seed(0))
    step = 0.1 * norm * drawn / drawn.norm()
    settings: list[Setting] = [None]
    settings += [Steering(layer, s * step, positions) for s in strengths]
    return Case(f"long, {positions}", vlm, examples, settings, 16, [other], mild=4)


def _pictured(vlm: VLM, number: int) -> Example:
    return Example(
        id=f"long/{number}",
        dataset="utility",
        variant="drawn",
        category="any",
        split="test",
        query=QUERIES[number % len(QUERIES)],
        picture=partial(_rectangles, number, vlm.model.config.vision_config.image_size[0]),
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
