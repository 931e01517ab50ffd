"""Load DUAL-Bench as examples: twins from templates, a table or a rendered folder."""

from collections.abc import Sequence
from pathlib import Path

from calib.config.checks import some_of
from calib.config.choices import Safety
from calib.config.data import DualBenchData
from calib.data.dualbench.rendered_set import read_set
from calib.data.dualbench.rendering import VARIANTS, Rendering, find_photographs
from calib.data.dualbench.templates import template_twins
from calib.data.dualbench.twins import (
    Twin,
    check_translations,
    limit_per_category,
    read_translations,
    read_twins,
    with_translations,
)
from calib.data.dualbench.typesetting import DEFAULT_FONT, Typeface
from calib.data.example import Benchmark, Example
from calib.data.images import read_image
from calib.data.splits import split_of
from calib.util.errors import CalibError
from calib.util.files import home_expanded
from calib.util.listing import shortened

_SIDES: tuple[Safety, Safety] = ("safe", "unsafe")
_LISTED = 5  # examples listed in an error message
_RENDERING_SETTINGS = ("twins", "backgrounds", "font", "translations")


def load(config: DualBenchData) -> Benchmark:
    """The examples of ``config``: dataset dual_use, all splits, twins adjacent.

    All variants of a twin share its pair id and its split. Raises CalibError for conflicting
    settings, damaged files, missing translations and glyphs, and texts that are too long to be
    legible.
    """
    selected = some_of("data.variants", config.variants, VARIANTS)
    variants = [variant for variant in VARIANTS if variant in selected]
    examples, notes = (_render if config.root is None else _read)(config, variants)
    return Benchmark(examples, notes)


def _render(config: DualBenchData, variants: list[str]) -> tuple[list[Example], list[str]]:
    twins, notes = _twins(config)
    selected = limit_per_category({t.pair: t.category.code for t in twins}, config.per_category)
    twins = [twin for twin in twins if twin.pair in selected]
    if config.translations is not None and "translation" in variants:
        twins = with_translations(twins, read_translations(home_expanded(config.translations)))
    if "translation" in variants:
        check_translations(twins)
    photographs: tuple[Path, ...] = ()
    if "real_background" in variants:
        if config.backgrounds is None:
            notes.append(
                "dualbench: real_background uses drawn scenes instead of photographs "
                "(to use photographs, set data.backgrounds=FOLDER)"
            )
        else:
            photographs = find_photographs(home_expanded(config.backgrounds))
    typeface = Typeface(home_expanded(config.font) if config.font else DEFAULT_FONT)
    examples = [
        example
        for twin in twins
        for variant in variants
        for example in _examples(config, twin, variant, typeface, photographs)
    ]
    typeface.check(example.metadata["text"] for example in examples)
    _check_legibility(examples)
    backgrounds = {e.picture.photograph() for e in examples if isinstance(e.picture, Rendering)}
    for photograph in sorted(backgrounds - {None}, key=str):
        assert photograph is not None
        read_image(photograph)  # so that an unreadable file stops the run before it starts
    return examples, notes


def _twins(config: DualBenchData) -> tuple[list[Twin], list[str]]:
    if config.twins is not None:
        return read_twins(home_expanded(config.twins))
    note = (
        "dualbench: the instructions are calib's own templates with placeholder content, not those "
        "of the paper (to use other instructions, set data.twins=FILE)"
    )
    return template_twins(), [note]


def _examples(
    config: DualBenchData,
    twin: Twin,
    variant: str,
    typeface: Typeface,
    photographs: tuple[Path, ...],
) -> list[Example]:
    texts = (twin.benign, twin.harmful)
    if variant == "translation":
        texts = (twin.benign_translation, twin.harmful_translation)
    return [
        Example(
            id=f"{twin.pair}/{variant}/{safety}",
            dataset="dual_use",
            variant=variant,
            category=twin.category.name,
            split=split_of(twin.pair, config.train, config.validation),
            query=config.query,
            picture=Rendering(
                text, texts, twin.pair, variant, config.size, typeface, photographs, config.seed
            ),
            safety=safety,
            pair=twin.pair,
            metadata={"text": text, "code": twin.category.code},
            system=config.system,
        )
        for safety, text in zip(_SIDES, texts, strict=True)
    ]


def _check_legibility(examples: Sequence[Example]) -> None:
    too_long = [e for e in examples if isinstance(e.picture, Rendering) and not e.picture.fits()]
    if too_long:
        assert isinstance(too_long[0].picture, Rendering)
        first = ", ".join(shortened((e.id for e in too_long), _LISTED))
        raise CalibError(
            "too-large",
            f"{len(too_long)} of {len(examples)} texts, or their twins, are too long to be "
            f"legible: with a font size of {too_long[0].picture.smallest} pixels they do not fit a "
            f"picture of {too_long[0].picture.side} pixels ({first}). Shorten them, or "
            "remove their twins.",
        )


def _read(config: DualBenchData, variants: list[str]) -> tuple[list[Example], list[str]]:
    unused = [key for key in _RENDERING_SETTINGS if getattr(config, key) is not None]
    if unused:
        raise CalibError(
            "conflicting-settings",
            f"data.{unused[0]} has no effect on data.root={config.root}, whose pictures are "
            "already drawn. Omit one of the two.",
        )
    assert config.root is not None
    examples, notes = read_set(home_expanded(config.root), config)
    available = {example.variant for example in examples}
    if missing := [variant for variant in variants if variant not in available]:
        raise CalibError(
            "invalid-setting",
            f"data.variants: {config.root} has no pictures of '{missing[0]}'. Choose from "
            f"{', '.join(v for v in VARIANTS if v in available)}.",
        )
    categories = {str(e.pair): e.metadata["code"] for e in examples}
    selected = limit_per_category(categories, config.per_category)
    return [e for e in examples if e.variant in variants and e.pair in selected], notes
