"""Overview files of a rendered DUAL-Bench set: its README and its contact sheet."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from PIL import Image, ImageDraw

from calib.config.choices import SPLITS
from calib.config.data import DualBenchData
from calib.data.dualbench import rendering
from calib.data.dualbench.rendering import VARIANTS, Rendering
from calib.data.dualbench.typesetting import LEADING, MARGIN, Typeface
from calib.data.example import Benchmark, Example
from calib.data.text_image import MAX_ROTATION, MIN_ROTATION, NOISE

MAX_CATEGORIES = 4
"""Number of categories on the contact sheet, evenly spaced over all."""
THUMBNAIL = 224  # pixels
_GAP, _HEAD, _SIDE = 8, 28, 150  # pixels: between cells, above the columns, left of the rows


def readme(benchmark: Benchmark, config: DualBenchData) -> bytes:
    """The README as Markdown in UTF-8. File names are given without their folders."""
    examples = benchmark.examples
    counts = Counter((e.category, e.split) for e in examples)
    categories = dict.fromkeys((e.metadata["code"], e.category) for e in examples)
    font = next(e.picture.typeface for e in examples if isinstance(e.picture, Rendering)).path.name
    variants = {e.variant for e in examples}
    source = "calib's templates" if config.twins is None else PurePath(config.twins).name
    return "\n".join(
        [
            "# Harmful and benign instructions as pictures",
            "",
            "A reconstruction of DUAL-Bench (arXiv 2510.10846) by calib: pictures of instructions "
            "for a model to describe. The paper publishes neither its instructions nor the "
            "parameters of its perturbations; these are not its pictures.",
            "",
            *(f"- {note}" for note in benchmark.notes),
            f"- instructions: {source}",
            f"- query for every picture: {config.query}",
            f"- {len(examples)} pictures of {config.size} x {config.size} px, seed {config.seed}; "
            "manifest.jsonl lists each with its text and rendering parameters",
            f"- font {font}, margins of {MARGIN:.0%}, line spacing of {LEADING:g} font sizes; "
            "twins share font size, background, noise and angle",
            "",
            "| variant | rendering |",
            "|---|---|",
            *(
                f"| {variant} | {description} |"
                for variant, description in _descriptions(config).items()
                if variant in variants
            ),
            "",
            "| pictures | " + " | ".join(SPLITS) + " |",
            "|---" * (1 + len(SPLITS)) + "|",
            *(
                f"| {code} {name} | "
                + " | ".join(str(counts[name, split]) for split in SPLITS)
                + " |"
                for code, name in categories
            ),
            "",
            "The harmful texts serve to measure how models respond to them. contact_sheet.png "
            "shows examples in every variant.",
            "",
        ]
    ).encode()


def contact_sheet(examples: Sequence[Example]) -> bytes:
    """A PNG with a column per variant and two rows, harmful and benign, for the first twin of up to
    MAX_CATEGORIES categories. Its size does not depend on the number of examples."""
    variants = [v for v in VARIANTS if any(e.variant == v for e in examples)]
    pairs = _first_pairs(examples)
    cell = THUMBNAIL + _GAP
    size = (_SIDE + cell * len(variants), _HEAD + cell * 2 * len(pairs))
    sheet = Image.new("RGB", size, (225, 225, 225))
    draw, font = ImageDraw.Draw(sheet), Typeface().at(14)
    for column, variant in enumerate(variants):
        draw.text((_SIDE + column * cell, 6), variant, fill="black", font=font)
    for example in examples:
        if example.pair not in pairs or example.picture is None:
            continue
        row = 2 * pairs.index(example.pair) + (example.safety == "safe")
        top = _HEAD + row * cell
        if example.variant == variants[0]:
            side = "harmful" if example.safety == "unsafe" else "benign"
            label = "\n".join([*example.category.split(" "), "", side])
            draw.multiline_text((_GAP, top + _GAP), label, fill="black", font=font)
        small = example.picture().resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(small, (_SIDE + variants.index(example.variant) * cell, top))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _descriptions(config: DualBenchData) -> dict[str, str]:
    """The rendering of each variant, in words."""
    original = Rendering("", ("", ""), "", "original", config.size)
    small_font = Rendering("", ("", ""), "", "small_font", config.size)
    background = (
        "drawn scenes"
        if config.backgrounds is None
        else f"photographs of {PurePath(config.backgrounds).name}"
    )
    return {
        "original": f"black on white, as large as fits, at least {original.smallest} px",
        "real_background": f"on {background}, lightened by {rendering.LIGHTENED:.0%} towards white",
        "noise": f"uniform, with a level of {rendering.LEAST_NOISE:.0%} to {NOISE:.0%} of the grey "
        "range in either direction, on every pixel and channel",
        "rotation": f"{MIN_ROTATION:g} to {MAX_ROTATION:g} degrees in either direction, as large "
        "as fits after rotation",
        "small_font": f"{small_font.smallest} px",
        "translation": "the translated text, rendered like the original",
    }


def _first_pairs(examples: Sequence[Example]) -> list[str]:
    """The first pair of up to MAX_CATEGORIES categories, evenly spaced over all in their order."""
    first: dict[str, str] = {}
    for example in examples:
        first.setdefault(example.category, str(example.pair))
    pairs = list(first.values())
    number = min(MAX_CATEGORIES, len(pairs))
    return [pairs[k * len(pairs) // number] for k in range(number)]
