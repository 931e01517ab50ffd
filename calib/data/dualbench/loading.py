"""DUAL-Bench as examples: twins from templates, a table or a written folder, in every variant."""

from collections.abc import Sequence
from pathlib import Path

from calib.config.choices import Safety
from calib.config.data import DualBenchData
from calib.data.dualbench.rendering import VARIANTS, Rendering, photographs_in
from calib.data.dualbench.templates import template_twins
from calib.data.dualbench.twins import (
    Twin,
    check_translations,
    limit_per_category,
    read_translations,
    read_twins,
    translated,
)
from calib.data.dualbench.typesetting import DEFAULT_FONT, Typeface
from calib.data.dualbench.written import read_set
from calib.data.example import Benchmark, Example
from calib.data.images import read_image
from calib.data.splits import split_of
from calib.util.errors import CalibError, did_you_mean

_SIDES: tuple[Safety, Safety] = ("safe", "unsafe")
_SHOWN = 5
_DRAWN_FROM = ("twins", "backgrounds", "font", "translations")


def load(config: DualBenchData) -> Benchmark:
    """The examples that ``config`` describes: dataset dual_use, all splits, twins together.

    All variants of a twin pair share its pair id and its split. Raises CalibError for settings that
    contradict each other, damaged files, missing translations and glyphs, and texts that are too
    long to be read.
    """
    variants = _variants(config.variants)
    examples, notes = (_rendered if config.root is None else _read)(config, variants)
    return Benchmark(examples, notes)


def _variants(chosen: Sequence[str]) -> list[str]:
    for variant in chosen:
        if variant not in VARIANTS:
            raise CalibError(
                f"data.variants holds '{variant}'.{did_you_mean(variant, VARIANTS)} Choose from "
                f"{', '.join(VARIANTS)}."
            )
    return [variant for variant in VARIANTS if variant in chosen]


def _rendered(config: DualBenchData, variants: list[str]) -> tuple[list[Example], list[str]]:
    twins, notes = _twins(config)
    chosen = limit_per_category({t.pair: t.category.code for t in twins}, config.per_category)
    twins = [twin for twin in twins if twin.pair in chosen]
    if config.translations is not None and "translation" in variants:
        twins = translated(twins, read_translations(Path(config.translations).expanduser()))
    if "translation" in variants:
        check_translations(twins)
    photographs: tuple[Path, ...] = ()
    if "real_background" in variants:
        if config.backgrounds is None:
            notes.append(
                "dualbench: scenes were drawn in place of photographs for real_background "
                "(data.backgrounds=FOLDER takes photographs)"
            )
        else:
            photographs = photographs_in(Path(config.backgrounds).expanduser())
    typeface = Typeface(Path(config.font).expanduser() if config.font else DEFAULT_FONT)
    examples = [
        example
        for twin in twins
        for variant in variants
        for example in _examples(config, twin, variant, typeface, photographs)
    ]
    typeface.check(example.metadata["text"] for example in examples)
    _refuse_unreadable(examples)
    drawn = {e.picture.photograph() for e in examples if isinstance(e.picture, Rendering)}
    for photograph in sorted(drawn - {None}, key=str):
        assert photograph is not None
        read_image(photograph)  # what cannot be read is said before a run and not amidst it
    return examples, notes


def _twins(config: DualBenchData) -> tuple[list[Twin], list[str]]:
    if config.twins is not None:
        return read_twins(Path(config.twins).expanduser())
    note = (
        "dualbench: the instructions are calib's own templates with placeholder content, not those "
        "of the paper (data.twins=FILE takes yours)"
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


def _refuse_unreadable(examples: Sequence[Example]) -> None:
    long = [e for e in examples if isinstance(e.picture, Rendering) and not e.picture.fits()]
    if long:
        assert isinstance(long[0].picture, Rendering)
        first = ", ".join(e.id for e in long[:_SHOWN]) + (", ..." if len(long) > _SHOWN else "")
        raise CalibError(
            f"{len(long)} of {len(examples)} texts, or their twins, are too long to be read: in "
            f"letters of {long[0].picture.smallest} pixels they do not fit a picture of "
            f"{long[0].picture.side} ({first}). Shorten them, or take their twins out."
        )


def _read(config: DualBenchData, variants: list[str]) -> tuple[list[Example], list[str]]:
    if given := [key for key in _DRAWN_FROM if getattr(config, key) is not None]:
        raise CalibError(
            f"data.{given[0]} would be left out: the pictures in data.root={config.root} are "
            "already drawn. Give one of the two."
        )
    assert config.root is not None
    written, notes = read_set(Path(config.root).expanduser(), config)
    found = {example.variant for example in written}
    if missing := [variant for variant in variants if variant not in found]:
        raise CalibError(
            f"data.variants holds '{missing[0]}', of which {config.root} has no pictures. It has "
            f"{', '.join(v for v in VARIANTS if v in found)}."
        )
    chosen = limit_per_category(
        {str(e.pair): e.metadata["code"] for e in written}, config.per_category
    )
    kept = [e for e in written if e.variant in variants and e.pair in chosen]
    return kept, notes
