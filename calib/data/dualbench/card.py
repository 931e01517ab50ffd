"""The README of a rendered set: what it holds, how it was drawn, and what it is not."""

from collections import Counter
from pathlib import PurePath

from calib.config_data import DualBenchData
from calib.data.benchmark import Benchmark
from calib.data.dualbench import rendering
from calib.data.dualbench.rendering import Rendering
from calib.data.dualbench.typesetting import LEADING, MARGIN
from calib.data.example import SPLITS
from calib.data.text_image import MAX_ROTATION, MIN_ROTATION, NOISE


def card(benchmark: Benchmark, config: DualBenchData) -> bytes:
    """Markdown in UTF-8. Names of files are given without their folders."""
    examples = benchmark.examples
    original = Rendering("", ("", ""), "", "original", config.size)
    small = Rendering("", ("", ""), "", "small_font", config.size)
    counts = Counter((e.category, e.split) for e in examples)
    categories = dict.fromkeys((e.facts["code"], e.category) for e in examples)
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
