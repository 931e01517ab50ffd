"""The benchmarks a configuration can name, and the questions that measure helpfulness."""

from calib.config_data import DataConfig, MiniData, UtilityConfig, VscbenchData
from calib.data import vscbench
from calib.data.benchmark import Benchmark
from calib.data.example import Example, limited
from calib.data.mini import examples as mini
from calib.errors import CalibError, did_you_mean


def load_benchmark(config: DataConfig, seed: int = 0) -> Benchmark:
    """The safety queries that ``data=`` names; ``seed`` is the jitter of drawn pictures.

    Raises CalibError for an unknown benchmark, missing files, or an empty selection.
    """
    if isinstance(config, MiniData):
        loaded = Benchmark(mini.load(config.parts, config.limit, config.system, seed))
    elif isinstance(config, VscbenchData):
        found = vscbench.load(
            config.root, config.parts, config.variants, config.figstep_query, config.system
        )
        loaded = Benchmark(limited(found.examples, config.limit), found.notes)
    else:
        raise CalibError(f"data={config.name} is not a benchmark; choose mini or vscbench.")
    if not loaded.examples:
        raise CalibError(
            f"data={config.name} with these settings has no examples. Raise data.limit, or choose "
            "more parts."
        )
    return loaded


UTILITIES = ("mini", "none")


def load_utility(config: UtilityConfig, seed: int = 0, system: str | None = None) -> list[Example]:
    """The questions with one right answer that ``utility=`` names; ``seed`` as above.

    ``system`` is the system prompt of the safety queries: what it costs shows here.

    Raises CalibError for an unknown set.
    """
    if config.name == "none":
        return []
    if config.name != "mini":
        raise CalibError(
            f"utility={config.name} is not known.{did_you_mean(config.name, UTILITIES)} "
            f"Choose from {', '.join(UTILITIES)}."
        )
    return mini.load(["utility", "knowledge"], config.limit, system, seed)
