"""Published questions with one right answer, which need no judge: one file a set, found by name.

A set's file says in its first lines what it asks, which paper it is from and which columns it has,
and has ``load(config: PublishedUtility, system: str | None) -> Benchmark``. Questions are examples
of the dataset utility; their facts say how a response is read (calib.scoring.answers). The names of
hub repositories, their splits and the usual prompts are values of conf/utility/<set>.yaml.
"""

import importlib
import pkgutil

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark
from calib.util.errors import CalibError, did_you_mean

PARTS = ("source", "question")
"""Modules here that are no set."""


def names() -> list[str]:
    """The sets, in alphabetical order."""
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name not in PARTS]


def load(config: PublishedUtility, system: str | None = None) -> Benchmark:
    """All questions of the set that ``config.name`` names, with notes on what was left out.

    ``system`` is the system prompt shown with every question. Raises CalibError for an unknown
    name, for tables that are missing or not as the set's, and where a question's id comes twice.
    """
    if config.name not in names():
        raise CalibError(
            f"utility={config.name} is not known.{did_you_mean(config.name, names())} "
            f"Choose from {', '.join(names())}."
        )
    found: Benchmark = importlib.import_module(f"{__name__}.{config.name}").load(config, system)
    seen: set[str] = set()
    for example in found.examples:
        if example.id in seen:
            raise CalibError(
                f"utility={config.name}: two questions are called {example.id}. Read every part of "
                "the set once: look for tables that hold the same rows."
            )
        seen.add(example.id)
    return found
