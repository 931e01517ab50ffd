"""Published safety benchmarks: one module per benchmark, discovered by its name.

A module's docstring states what the benchmark measures, its paper, and the files and columns that
are read. It defines

    SUBSETS: the subsets that can be read, as the benchmark names them; empty if it has none
    VARIANTS: the presentations of its content
    load(config: PublishedData) -> Benchmark

and, if the same query accompanies every picture, QUERY, which data.query replaces.

Variant names are shared: text_only (no picture), photo (a picture that was found or made),
typography (words as a picture), sd (a generated picture), sd_typography (both), figstep (a request
written as the title of an empty list).
"""

import importlib
import pkgutil
from dataclasses import replace
from types import ModuleType

from calib.config.checks import some_of
from calib.config.data import PublishedData
from calib.data.audit.rows import repeat_note
from calib.data.example import Benchmark, repeated_ids
from calib.util.errors import CalibError, did_you_mean

_NOT_BENCHMARKS = ("copies", "vlguard_rows")


def load(config: PublishedData) -> Benchmark:
    """The benchmark ``config.name``.

    Raises CalibError for an unknown name, subset or variant, a setting that the benchmark does not
    have, and missing or unexpected files.
    """
    module = _module(config.name)
    config = replace(
        config,
        subsets=_selected("data.subsets", config.subsets, module.SUBSETS),
        variants=_selected("data.variants", config.variants, module.VARIANTS),
    )
    if config.query is not None and not hasattr(module, "QUERY"):
        raise CalibError(
            "conflicting-settings",
            f"data.query has no effect with data={config.name}, which has its own questions. "
            "Omit it.",
        )
    benchmark: Benchmark = module.load(config)
    _check_ids(config.name, benchmark)
    repeats = repeat_note(benchmark.examples, config.name)
    return replace(benchmark, notes=[*benchmark.notes, *repeats])


def names() -> list[str]:
    """The names of all benchmarks, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(modules - set(_NOT_BENCHMARKS))


def choices(name: str) -> dict[str, tuple[str, ...]]:
    """The subsets and variants of a benchmark, by setting, where it has several."""
    module = _module(name)
    both = {"subsets": module.SUBSETS, "variants": module.VARIANTS}
    return {key: values for key, values in both.items() if len(values) > 1}


def _module(name: str) -> ModuleType:
    if name not in names():
        raise CalibError(
            "unknown-name",
            f"data={name} is not a published benchmark.{did_you_mean(name, names())} "
            f"Choose from {', '.join(names())}.",
        )
    return importlib.import_module(f"{__name__}.{name}")


def _selected(key: str, values: list[str], choices: tuple[str, ...]) -> list[str]:
    if choices:
        return some_of(key, values, choices)
    if values:
        raise CalibError(
            "conflicting-settings", f"{key}={values}: this benchmark has none. Omit the setting."
        )
    return []


def _check_ids(name: str, benchmark: Benchmark) -> None:
    if repeated := repeated_ids(benchmark.examples):
        raise CalibError(
            "duplicate",
            f"data={name}: {len(repeated)} row ids occur more than once (first: {repeated[0]}). "
            "Download the files again, or make the ids unique.",
        )
