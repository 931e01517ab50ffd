"""Published utility questions that need no judge: one module per set, discovered by its name.

A module's docstring states what the set measures, its paper and its columns. It defines
``load(config: PublishedUtility, system: str | None) -> Benchmark``. Questions are examples of the
dataset "utility"; their metadata states how responses are scored (calib.scoring.answers). Hub
repositories, splits and the customary prompts are set in conf/utility/<set>.yaml.
"""

import importlib
import pkgutil

from calib.config.data import PublishedUtility
from calib.data.example import Benchmark, repeated_ids
from calib.util.errors import CalibError, did_you_mean

_NOT_SETS = ("source", "question", "vlmevalkit", "pope_files", "scienceqa_files")


def names() -> list[str]:
    """The names of all sets, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(modules - set(_NOT_SETS))


def load(config: PublishedUtility, system: str | None = None) -> Benchmark:
    """All questions of the set ``config.name``, with notes on skipped questions.

    ``system`` is the system prompt of every question. Raises CalibError for an unknown name, for
    missing or unexpected tables, and for duplicate question ids.
    """
    if config.name not in names():
        raise CalibError(
            "unknown-name",
            f"utility={config.name} is not a known set.{did_you_mean(config.name, names())} "
            f"Choose from {', '.join(names())}.",
        )
    # Imported here, because it reads the constants of the sets' modules.
    vlmevalkit = importlib.import_module(f"{__name__}.vlmevalkit")
    if table := vlmevalkit.find(config):
        benchmark: Benchmark = vlmevalkit.load(config, system, table)
    else:
        benchmark = importlib.import_module(f"{__name__}.{config.name}").load(config, system)
    if repeated := repeated_ids(benchmark.examples):
        raise CalibError(
            "duplicate",
            f"utility={config.name}: two questions have the id {repeated[0]}. Check whether two "
            "tables contain the same rows.",
        )
    return benchmark
