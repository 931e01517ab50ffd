"""Published safety benchmarks: one file each, found by its name.

A benchmark's file says in its first lines what it measures, which paper it is from, which files and
columns it has, and has

    SUBSETS: the parts of it that can be read, as it names them; empty where it has none
    VARIANTS: how its content can be shown
    load(config: PublishedData) -> Benchmark

and, where the same is asked beside every picture, QUERY, which data.query replaces.

The names of variants are shared: text_only (no picture), photo (any picture that was found or
made), typography (words as a picture), sd (a generated picture), sd_typography (both), figstep (a
request written as the title of an empty list).
"""

import importlib
import pkgutil
from collections import Counter
from dataclasses import replace
from types import ModuleType

from calib.config.checks import not_empty, one_of
from calib.config.data import PublishedData
from calib.data.example import Benchmark
from calib.util.errors import CalibError, did_you_mean

HELPERS = ("copies", "zipped")


def load(config: PublishedData) -> Benchmark:
    """The benchmark that ``config.name`` names.

    Raises CalibError for an unknown name, subset or variant, a setting that the benchmark does not
    have, and files that are missing or not as its own are.
    """
    module = _module(config.name)
    config = replace(
        config,
        subsets=_chosen("data.subsets", config.subsets, module.SUBSETS),
        variants=_chosen("data.variants", config.variants, module.VARIANTS),
    )
    if config.query is not None and not hasattr(module, "QUERY"):
        raise CalibError(
            f"data.query has no meaning for data={config.name}, which asks its own questions. "
            "Leave it away."
        )
    found: Benchmark = module.load(config)
    _refuse_repeated_ids(config.name, found)
    return found


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(set(module.name for module in pkgutil.iter_modules(__path__)) - set(HELPERS))


def _module(name: str) -> ModuleType:
    if name not in names():
        raise CalibError(
            f"data={name} is no published benchmark.{did_you_mean(name, names())} "
            f"Choose from {', '.join(names())}."
        )
    return importlib.import_module(f"{__name__}.{name}")


def _chosen(key: str, given: list[str], known: tuple[str, ...]) -> list[str]:
    if not known:
        if given:
            raise CalibError(f"{key}={given}: this benchmark has none. Leave it away.")
        return []
    for value in not_empty(key, given):
        one_of(key, value, known)
    return list(dict.fromkeys(given))


def _refuse_repeated_ids(name: str, found: Benchmark) -> None:
    uses = Counter(example.id for example in found.examples)
    if repeated := [id_ for id_, count in uses.items() if count > 1]:
        raise CalibError(
            f"data={name}: {len(repeated)} rows have the number of another (first: "
            f"{repeated[0]}). Fetch the files again, or number the rows apart."
        )
