"""Examples with another picture, or with a caption in its place."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from calib.config.method import Captioned
from calib.data.example import Example, Picture
from calib.interventions.fitting import ExampleCache, Fitting
from calib.interventions.prompting import prompt_text
from calib.util.errors import CalibError


def picture_variant(picture: str) -> ExampleCache:
    """Examples with another picture: none, blank (grey), noise (uniform), or their own.

    Those without a picture stay so.
    """

    def make(example: Example) -> Example:
        if picture == "own" or example.picture is None:
            return example
        if picture == "none":
            return replace(example, picture=None)
        return replace(example, picture=partial(PICTURES[picture], example.picture))

    return ExampleCache(make)


def _blank(own: Picture) -> Image.Image:
    return Image.new("RGB", own().size, (127, 127, 127))


def _noise(own: Picture) -> Image.Image:
    width, height = own().size
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


PICTURES = {"blank": _blank, "noise": _noise}


def captioned(example: Example, caption: str) -> Example:
    """The caption and the query, without the picture."""
    return replace(example, query=f"{caption} {example.query}", picture=None)


class Captions:
    """Captions of examples: from a file, or asked of the model itself."""

    def __init__(self, fitting: Fitting, config: Captioned) -> None:
        self.fitting = fitting
        self.known = read_captions(config.captions) if config.captions else None
        self.question = "" if self.known else prompt_text(config, fitting.vlm, "question")
        self._shown: dict[int, tuple[Example, Example]] = {}  # by id(); holds the example alive

    def in_place(self, examples: Sequence[Example]) -> list[Example]:
        """Each example with a caption in place of its picture; those without one stay so."""
        pictured = [example for example in examples if example.picture is not None]
        new = {id(e): e for e in pictured if id(e) not in self._shown}
        asked = list(new.values())
        if self.known is not None:
            texts = [self.known[example.id] for example in asked]
        else:
            questions = [replace(example, query=self.question) for example in asked]
            texts = [
                answer.text for answer in self.fitting.baseline_answers(questions, "caption", False)
            ]
        for example, text in zip(asked, texts, strict=True):
            self._shown[id(example)] = (example, captioned(example, text))
        return [self._shown.get(id(example), (example, example))[1] for example in examples]


def read_captions(path: str) -> dict[str, str]:
    """Captions by example id, from a CSV or JSONL file with columns id and caption.

    Raises CalibError when the file cannot be read or lacks a column.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
        rows: Sequence[Mapping[str, str]]
        if file.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {str(row["id"]): str(row["caption"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibError(
            f"method.captions={path} cannot be read ({error!r}). Give a CSV or JSONL file with "
            "columns id and caption."
        ) from error


def check_captions(config: Captioned, examples: Sequence[Example]) -> None:
    """Raise CalibError when there is nothing to caption, or a caption is missing."""
    pictured = [example for example in examples if example.picture is not None]
    if not pictured:
        raise CalibError(
            f"method={config.name} compares pictures with their captions, and none of the examples "
            "has a picture. Choose other data.parts or data.variants."
        )
    if config.captions is None:
        return
    known = read_captions(config.captions)
    missing = [example.id for example in pictured if example.id not in known]
    if missing:
        raise CalibError(
            f"method.captions={config.captions} lacks {len(missing)} of {len(pictured)} captions "
            f"(first: {missing[0]}). Add them, or leave method.captions away to ask the model."
        )
