"""Data sets of other packages, checked when they are loaded."""

from dataclasses import dataclass, field, replace
from functools import partial

from PIL import Image

from calib.config.data import DataConfig
from calib.config.extensions import Extension
from calib.data.example import Benchmark, Example, Picture, map_pictures, repeated_ids
from calib.data.splits import SAFETY_DATASETS
from calib.util.errors import CalibError
from calib.util.field_types import shown, wrong_field

_REQUIRED = ("id", "variant", "category", "query")
"""Texts of an example that must not be empty; a query may be, with a picture."""


def extension_benchmark(extension: Extension, config: DataConfig) -> Benchmark:
    """The benchmark that an extension loads, with pictures that name it when they cannot be drawn.

    Raises CalibError, naming the extension: its function raises an error, returns no Benchmark, or
    one with an example that has a field of another type, an empty or a repeated id, no safety, or
    another dataset than those of safety queries (invalid-content, duplicate).
    """
    with extension.running("load"):
        loaded = extension.module.load(config)
    if not isinstance(loaded, Benchmark):
        raise extension.wrong(
            f"load returned {shown(loaded)}, not a calib.data.example.Benchmark of examples"
        )
    if not isinstance(loaded.examples, list | tuple):
        raise extension.wrong(f"its Benchmark has as examples {shown(loaded.examples)}, not a list")
    for number, example in enumerate(loaded.examples):
        if problem := _problem_of(example):
            raise extension.wrong(f"example {number} {problem}")
    if repeated := repeated_ids(loaded.examples):
        raise CalibError(
            "duplicate",
            f"{extension.where}: two examples have the id '{repeated[0]}'. Rows are recorded by "
            "it: give each example its own.",
        )
    if problem := wrong_field(loaded):
        raise extension.wrong(f"its Benchmark: {problem}")
    drawn = partial(_named, extension=extension)
    return replace(loaded, examples=[map_pictures(each, drawn) for each in loaded.examples])


def _problem_of(example: object) -> str | None:
    if not isinstance(example, Example):
        return f"is {shown(example)}, not a calib.Example"
    if problem := wrong_field(example):
        return f"('{example.id!s:.80}') has a wrong field: {problem}"
    if example.dataset not in SAFETY_DATASETS:
        known = ", ".join(SAFETY_DATASETS)
        return f"('{example.id}') has dataset '{example.dataset}', which is not one of {known}"
    if example.safety is None:
        return f"('{example.id}') has no safety. Give safe or unsafe, or leave it out"
    empty = [name for name in _REQUIRED if not getattr(example, name).strip()]
    if empty and not (empty == ["query"] and example.pictures):
        return f"('{example.id}') has an empty {empty[0]}"
    return None


@dataclass(frozen=True)
class ExtensionPicture:
    """A picture that an extension draws: its errors name the extension."""

    picture: Picture
    extension: Extension = field(compare=False, repr=False)

    def __call__(self) -> Image.Image:
        with self.extension.running("a picture"):
            image = self.picture()
        if not isinstance(image, Image.Image):
            raise self.extension.wrong(f"a picture gives {shown(image)}, not a PIL image")
        return image


def _named(picture: Picture, extension: Extension) -> Picture:
    """Pictures of calib, which are files or cells, as they are."""
    of_calib = type(picture).__module__.startswith("calib.")
    return picture if of_calib else ExtensionPicture(picture, extension)
