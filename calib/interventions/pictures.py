"""Examples with other pictures, or with a caption in place of their pictures."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image

from calib.config.method import Captioned
from calib.data.example import Example, Picture, with_pictures
from calib.data.tables import cell_prompt, check_columns, read_table
from calib.interventions.example_cache import ExampleCache
from calib.interventions.fitting import Fitting
from calib.interventions.prompting import fill, prompt_text
from calib.util.errors import CalibError
from calib.util.files import home_expanded


def picture_variant(kind: str) -> ExampleCache:
    """Examples with other pictures: none, blank (grey), noise (uniform), or own (unchanged).

    Each picture of an example is replaced. Examples without a picture are unchanged.
    """

    def transform(example: Example) -> Example:
        if kind == "own" or not example.pictures:
            return example
        if kind == "none":
            return with_pictures(example, ())
        return with_pictures(
            example, [partial(PICTURES[kind], picture) for picture in example.pictures]
        )

    return ExampleCache(lambda examples: list(map(transform, examples)))


def _blank(original: Picture) -> Image.Image:
    return Image.new("RGB", original().size, (127, 127, 127))


def _noise(original: Picture) -> Image.Image:
    width, height = original().size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PICTURES = {"blank": _blank, "noise": _noise}


class Captions:
    """Captions of examples, from a file or written by the model itself."""

    def __init__(self, fitting: Fitting, config: Captioned) -> None:
        self.fitting = fitting
        self.from_file = read_captions(config.captions) if config.captions else None
        self.question = "" if self.from_file else prompt_text(config, fitting.vlm, "question")
        self.captioned = prompt_text(config, fitting.vlm, "captioned")
        self._captioned = ExampleCache(self._with_captions)

    def replace_pictures(self, examples: Sequence[Example]) -> list[Example]:
        """Each example with a caption in place of its pictures.

        Examples without a picture are unchanged.
        """
        pictured = [example for example in examples if example.picture is not None]
        captioned = iter(self._captioned.get(pictured))
        return [example if example.picture is None else next(captioned) for example in examples]

    def _with_captions(self, pictured: Sequence[Example]) -> list[Example]:
        if self.from_file is not None:
            captions = [self.from_file[example.id] for example in pictured]
        else:
            questions = [
                replace(example, query=fill(self.question, query=example.query))
                for example in pictured
            ]
            answers = self.fitting.baseline_answers(questions, "caption", False)
            captions = [answer.text for answer in answers]
        return [
            replace(
                with_pictures(example, ()),
                query=fill(self.captioned, query=example.query, caption=caption),
            )
            for example, caption in zip(pictured, captions, strict=True)
        ]


def read_captions(path: str) -> dict[str, str]:
    """Captions by example id, from a table with columns id and caption.

    Raises CalibError if the table cannot be read or lacks a column, for an empty caption, and for
    an id with two captions.
    """
    try:
        rows = read_table(home_expanded(path))
        check_columns(rows, ("id", "caption"), path)
    except CalibError as error:
        raise CalibError(error.code, f"method.captions={path}: {error}") from error
    captions: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        where = f"method.captions={path}, row {number}"
        id_, caption = cell_prompt(row, "id"), cell_prompt(row, "caption")
        if not caption:
            raise CalibError("missing-value", f"{where}: the caption is empty. Write one.")
        if captions.setdefault(id_, caption) != caption:
            raise CalibError(
                "duplicate", f"{where}: '{id_}' already has another caption. Delete one of them."
            )
    return captions


def check_captions(config: Captioned, examples: Sequence[Example]) -> None:
    """Raise CalibError if no example has a picture (too-few) or a caption is missing."""
    pictured = [example for example in examples if example.picture is not None]
    if not pictured:
        raise CalibError(
            "too-few",
            f"method={config.name} compares pictures with their captions, and none of the examples "
            "has a picture. Use data with pictures.",
        )
    if config.captions is None:
        return
    captions = read_captions(config.captions)
    missing = [example.id for example in pictured if example.id not in captions]
    if missing:
        raise CalibError(
            "missing-value",
            f"method.captions={config.captions} lacks {len(missing)} of {len(pictured)} captions "
            f"(first: {missing[0]}). Add them, or omit method.captions to have the model write "
            "them.",
        )
