"""A model in transformers and in vLLM, and some examples for it."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_families
import vllm_checkpoints
from edited_rows import edited_rows

from calib.config.engine import VllmChoice
from calib.config.model import ModelConfig
from calib.data.example import Example, map_pictures
from calib.data.mini.examples import DATASETS
from calib.data.mini.examples import load as mini_examples
from calib.engine.edits import Edits
from calib.engine.engine import Engine
from calib.engine.reading import ModelReader
from calib.engine.request import Decoding
from calib.engine.vllm.engine import VllmEngine
from calib.engine.vllm.in_process import InProcess
from calib.models.load import VLM, load

FAMILIES = ("mini_internvl", "llava", "qwen2_5_vl")


@dataclass(frozen=True)
class World:
    """One model behind both engines."""

    vlm: VLM
    backend: Any
    examples: tuple[Example, ...]
    """With pictures of several sizes, and without."""

    @property
    def rows(self) -> list[tuple[Example, Edits]]:
        """Unedited and edited rows, in mixed order. A trained model needs larger edits."""
        factor = 3.0 if self.vlm.name == "mini_internvl" else 1.0
        return edited_rows(self.vlm, self.examples, factor)

    def engines(self, **decoding: Any) -> tuple[Engine, VllmEngine]:
        """The engine on transformers, and vLLM's, with the same decoding settings."""
        settings = Decoding(**{"max_new_tokens": 12, "batch_rows": 32, **decoding})
        return Engine(self.vlm, settings), VllmEngine(self.vlm, settings, self.backend)

    def readers(self) -> tuple[ModelReader, VllmEngine]:
        """What reads activations: with the weights, and through vLLM."""
        return ModelReader(self.vlm), self.engines()[1]


@contextmanager
def opened(family: str, folder: Path, **settings: Any) -> Iterator[World]:
    """Start vLLM with a family's model and these settings of the engine."""
    model = ModelConfig(name=family, checkpoint=checkpoint(family, folder), dtype="float32")
    backend = InProcess(VllmChoice(**settings), model)
    try:
        yield World(load(model), backend, tuple(examples(family)))
    finally:
        backend.close()


def checkpoint(family: str, folder: Path) -> str | None:
    """Write the checkpoint of a family; None is mini-internvl, which is there."""
    if family == "mini_internvl":
        return None
    vllm_checkpoints.save(family, folder)
    return str(folder)


SIZES = {"llava": [(28, 28)], "qwen2_5_vl": [(32, 48), (64, 64), (64, 32)]}
"""Sizes of pictures that the tiny models' processors do not change."""


@functools.cache
def examples(family: str) -> list[Example]:
    """Some short and long prompts, with and without pictures that no processor resizes.

    vLLM resizes pictures with torchvision and calib with Pillow, so resized pixels can differ by a
    grey level.
    """
    if sizes := SIZES.get(family):
        made = tiny_families.examples(8)
        return [resized(e, sizes[k % len(sizes)]) for k, e in enumerate(made)]
    found = [e for e in mini_examples(DATASETS, limit=64) if e.split == "test"]
    shown = [e for e in found if e.picture][::5]
    return [*shown[:6], *[e for e in found if not e.picture][:2]]


def resized(example: Example, size: tuple[int, int]) -> Example:
    """The example with its pictures in another size."""
    return map_pictures(example, lambda picture: lambda: picture().resize(size))
