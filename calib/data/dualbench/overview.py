"""The README and the contact sheet of a rendered DUAL-Bench set."""

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


def card(benchmark: Benchmark, config: DualBenchData) -> bytes:
    """Markdown in UTF-8. Names of files are given without their folders."""
    examples = benchmark.examples
    original = Rendering("", ("", ""), "", "original", config.size)
    small = Rendering("", ("", ""), "", "small_font", config.size)
    counts = Counter((e.category, e.split) for e in examples)
    categories = dict.fromkeys((e.metadata["code"], e.category) for e in examples)
    font = next(e.picture.typeface for e in examples if isinstance(e.picture, Rendering)).path.name
    share = rendering.LIGHTENED
    table = [
        f"| {code} {name} | " + " | ".join(str(counts[name, split]) for split in SPLITS) + " |"
        for code, name in categories
    ]
    looks = {
        "original": f"black on white, as large as fits, at least {original.smallest} px",
        "real_background": "on "
        + (
            "drawn scenes" if config.backgrounds is None
            else f"photographs of {PurePath(config.backgrounds).name}"
        )
        + f", {share:.0%} of the way to white",
        "noise": f"uniform, {rendering.LEAST_NOISE:.0%} to {NOISE:.0%} of the grey range either "
        "way on every pixel and channel",
        "rotation": f"{MIN_ROTATION:g} to {MAX_ROTATION:g} degrees either way, as large as fits "
        "turned",
        "small_font": f"{small.smallest} px",
        "translation": "the translated text, drawn as the original is",
    }  # fmt: skip
    variants = {e.variant for e in examples}
    source = "calib's templates" if config.twins is None else PurePath(config.twins).name
    return "\n".join(
        [
            "# Harmful and benign instructions as pictures",
            "",
            "A reconstruction of DUAL-Bench (arXiv 2510.10846) by calib: pictures of an "
            "instruction that a model is asked to describe. The paper's instructions and its "
            "numbers for the perturbations are not published; these are not its pictures.",
            "",
            *(f"- {note}" for note in benchmark.notes),
            f"- instructions: {source}",
            f"- asked about every picture: {config.query}",
            f"- {len(examples)} pictures, {config.size} px square, seed {config.seed}; each in "
            f"manifest.jsonl with its text and what was drawn",
            f"- font {font}, margins of {MARGIN:.0%}, lines {LEADING:g} sizes apart; both twins "
            "have the same size of letters, background, noise and angle",
            "",
            "| variant | how |",
            "|---|---|",
            *(f"| {variant} | {how} |" for variant, how in looks.items() if variant in variants),
            "",
            "| pictures | " + " | ".join(SPLITS) + " |",
            "|---" * (1 + len(SPLITS)) + "|",
            *table,
            "",
            "The harmful texts are there to measure what models do with them. contact_sheet.png "
            "shows some in every variant.",
            "",
        ]
    ).encode()


CATEGORIES = 4
"""At most this many categories are shown, spread over those that there are."""
THUMBNAIL = 224  # pixels
_GAP, _HEAD, _SIDE = 8, 28, 150  # pixels; the head is above the columns, the side left of the rows


def contact_sheet(examples: Sequence[Example]) -> bytes:
    """A PNG with two rows, harmful and benign, for the first twin of some categories, and a column
    for each variant. Its size does not depend on the number of examples."""
    variants = [v for v in VARIANTS if any(e.variant == v for e in examples)]
    shown = _first_pairs(examples)
    cell = THUMBNAIL + _GAP
    size = (_SIDE + cell * len(variants), _HEAD + cell * 2 * len(shown))
    sheet = Image.new("RGB", size, (225, 225, 225))
    draw, font = ImageDraw.Draw(sheet), Typeface().at(14)
    for column, variant in enumerate(variants):
        draw.text((_SIDE + column * cell, 6), variant, fill="black", font=font)
    places = {(pair, side): k for k, pair in enumerate(shown) for side in ("unsafe", "safe")}
    for example in examples:
        if (example.pair, example.safety) not in places or example.picture is None:
            continue
        row = 2 * places[str(example.pair), str(example.safety)] + (example.safety == "safe")
        top = _HEAD + row * cell
        if example.variant == variants[0]:
            side = "harmful" if example.safety == "unsafe" else "benign"
            label = "\n".join([*example.category.split(" "), "", side])
            draw.multiline_text((_GAP, top + _GAP), label, fill="black", font=font)
        small = example.picture().resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(small, (_SIDE + variants.index(example.variant) * cell, top))
    held = io.BytesIO()
    sheet.save(held, format="PNG")
    return held.getvalue()


def _first_pairs(examples: Sequence[Example]) -> list[str]:
    """The first pair of CATEGORIES categories, evenly spread over all in their order."""
    first: dict[str, str] = {}
    for example in examples:
        first.setdefault(example.category, str(example.pair))
    pairs = list(first.values())
    number = min(CATEGORIES, len(pairs))
    return [pairs[k * len(pairs) // number] for k in range(number)]
