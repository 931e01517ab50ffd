"""The benchmarks a configuration can name, and the questions that measure helpfulness."""

from calib.config_data import (
    DataConfig,
    DualBenchData,
    MiniData,
    PairsData,
    PublishedData,
    PublishedUtility,
    SplitData,
    UtilityConfig,
    VscbenchData,
)
from calib.data import dualbench, own_pairs, published, utility, vscbench
from calib.data.benchmark import Benchmark
from calib.data.example import Example, limited
from calib.data.mini import examples as mini
from calib.data.picture_files import sound_pictures
from calib.errors import CalibError, did_you_mean


def load_benchmark(config: DataConfig, seed: int = 0) -> Benchmark:
    """The safety queries that ``data=`` names; ``seed`` is the jitter of drawn pictures.

    Raises CalibError for an unknown benchmark, missing files, pictures that cannot be read (unless
    they are to be skipped), or an empty selection.
    """
    if isinstance(config, MiniData):
        return _not_empty(
            config, Benchmark(mini.load(config.parts, config.limit, config.system, seed))
        )
    if isinstance(config, VscbenchData):
        loaded = vscbench.load(
            config.root,
            config.parts,
            config.variants,
            config.figstep_query,
            config.system,
            (config.train, config.validation),
            config.skip_broken,
        )
    elif isinstance(config, PairsData):
        loaded = own_pairs.load(config)
    elif isinstance(config, PublishedData):
        loaded = published.load(config)
    elif isinstance(config, DualBenchData):
        loaded = dualbench.load(config)
    else:
        raise CalibError(f"data={config.name} is not a benchmark that calib knows.")
    assert isinstance(config, SplitData)
    # Limited first: only pictures that are asked about are opened.
    chosen = _not_empty(config, Benchmark(limited(loaded.examples, config.limit), loaded.notes))
    sound, broken = sound_pictures(chosen.examples, config.skip_broken)
    return _not_empty(config, Benchmark(sound, [*loaded.notes, *broken]))


def _not_empty(config: DataConfig, loaded: Benchmark) -> Benchmark:
    if not loaded.examples:
        said = f" About what was read: {'; '.join(loaded.notes)}." if loaded.notes else ""
        raise CalibError(
            f"data={config.name} with these settings has no examples. Raise data.limit, or choose "
            f"more of it.{said}"
        )
    return loaded


UTILITIES = ("mini", "none", *utility.names())


def load_utility(config: UtilityConfig, seed: int = 0, system: str | None = None) -> list[Example]:
    """The questions of load_utility_noted, without the notes on them."""
    return load_utility_noted(config, seed, system).examples


def load_utility_noted(
    config: UtilityConfig, seed: int = 0, system: str | None = None
) -> Benchmark:
    """The questions with one right answer that ``utility=`` names; ``seed`` as above.

    ``system`` is the system prompt of the safety queries: what it costs shows here.

    Raises CalibError for an unknown set, for tables that are missing or damaged, for pictures that
    cannot be read (unless they are to be skipped), and where no question is left.
    """
    if config.name == "none":
        return Benchmark([])
    if config.name == "mini":
        return Benchmark(mini.load(["utility", "knowledge"], config.limit, system, seed))
    if not isinstance(config, PublishedUtility):
        raise CalibError(
            f"utility={config.name} is not known.{did_you_mean(config.name, UTILITIES)} "
            f"Choose from {', '.join(UTILITIES)}."
        )
    found = utility.load(config, system)
    chosen = limited(found.examples, config.limit)
    sound, broken = sound_pictures(chosen, config.skip_broken, "utility")
    if not sound:
        raise CalibError(
            f"utility={config.name} with these settings has no questions. Raise utility.limit."
            f" About what was read: {'; '.join([*found.notes, *broken]) or 'no defects'}."
        )
    return Benchmark(sound, [*found.notes, *broken])
