"""Load the safety queries, utility questions or pairs that a configuration names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from calib.config.checks import one_of
from calib.config.choices import PARTS, SPLITS
from calib.config.data import (
    DATA,
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
from calib.config.extensions import extensions
from calib.config.schemas import CONF
from calib.config.typed import typed_config
from calib.data import dualbench, own_pairs, published, utility, vscbench
from calib.data.example import Benchmark, Pair, pairs
from calib.data.extension_data import extension_benchmark
from calib.data.images import check_pictures
from calib.data.mini import examples as mini
from calib.data.mini.worlds import MINI_WORLDS
from calib.data.split_levels import split_by_level, with_query_groups
from calib.data.splits import limit_examples
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import home_expanded

UTILITIES = (*MINI_WORLDS, "none", *utility.names())


def load_benchmark(config: DataConfig, seed: int = 0) -> Benchmark:
    """The safety queries that ``data=`` names; ``seed`` determines the jitter of drawn pictures.

    Raises CalibError for an unknown benchmark, missing files, unreadable pictures (unless
    skip_broken is set), or an empty selection.
    """
    if config.name in extensions("data"):
        loaded = extension_benchmark(extensions("data")[config.name], config)
        if not isinstance(config, SplitData):
            return _not_empty(config, loaded)
    elif isinstance(config, MiniData) and config.name in MINI_WORLDS:
        return _not_empty(
            config,
            Benchmark(
                mini.load(
                    config.parts,
                    config.limit,
                    config.system,
                    seed,
                    split_by=config.split_by,
                    split_seed=config.split_seed,
                    world=MINI_WORLDS[config.name],
                )
            ),
        )
    elif isinstance(config, VscbenchData):
        loaded = vscbench.load(config)
    elif isinstance(config, PairsData):
        loaded = own_pairs.load(config)
    elif isinstance(config, PublishedData):
        loaded = published.load(config)
    elif isinstance(config, DualBenchData):
        loaded = dualbench.load(config)
    else:
        raise CalibError(
            "unknown-name",
            f"data={config.name} is not a known benchmark. The options are the files in conf/data.",
        )
    assert isinstance(config, SplitData)
    examples = split_by_level(
        with_query_groups(loaded.examples),
        config.split_by,
        config.split_seed,
        config.train,
        config.validation,
        loaded.given_splits,
    )
    # The limit comes first, so that only pictures in use are opened.
    limited = _not_empty(config, Benchmark(limit_examples(examples, config.limit), loaded.notes))
    readable, skipped = check_pictures(limited.examples, config.skip_broken)
    return _not_empty(config, Benchmark(readable, [*loaded.notes, *skipped]))


def load_utility(config: UtilityConfig, seed: int = 0, system: str | None = None) -> Benchmark:
    """The utility questions that ``utility=`` names; ``seed`` as in load_benchmark.

    ``system`` is the system prompt of the safety queries: the questions measure its cost.

    Raises CalibError for an unknown set, missing or damaged tables, unreadable pictures (unless
    skip_broken is set), or an empty selection.
    """
    if config.name == "none":
        return Benchmark([])
    if world := MINI_WORLDS.get(config.name):
        parts = ["utility", "knowledge"]
        return Benchmark(mini.load(parts, config.limit, system, seed, world=world))
    if not isinstance(config, PublishedUtility):
        raise CalibError(
            "unknown-name",
            f"utility={config.name} is not a known set.{did_you_mean(config.name, UTILITIES)} "
            f"Choose from {', '.join(UTILITIES)}.",
        )
    loaded = utility.load(config, system)
    limited = limit_examples(loaded.examples, config.limit)
    readable, skipped = check_pictures(limited, config.skip_broken, "utility")
    notes = [*loaded.notes, *skipped]
    if not readable:
        raise CalibError(
            "too-few",
            f"utility={config.name} has no questions with these settings. Check the table."
            f"{_defects(notes)}",
        )
    return Benchmark(readable, notes)


def _not_empty(config: DataConfig, loaded: Benchmark) -> Benchmark:
    if not loaded.examples:
        raise CalibError(
            "too-few",
            f"data={config.name} has no examples with these settings. {how_to_read_more(config)}"
            f"{_defects(loaded.notes)}",
        )
    return loaded


def how_to_read_more(config: DataConfig) -> str:
    """A sentence with the settings of this data set that would give more examples."""
    advice = [] if config.limit is None else [f"raise data.limit={config.limit}"]
    unread = {
        key: [name for name in choices if name not in getattr(config, key, [])]
        for key, choices in _choices(config).items()
    }
    advice += [f"add to data.{key} ({', '.join(names)})" for key, names in unread.items() if names]
    if isinstance(config, PairsData):
        advice.append("add rows to your table, or a column split")
    elif isinstance(config, SplitData):
        advice.append(
            "change data.train and data.validation, such as data.train=0 data.validation=0.3 for a "
            "method that fits nothing"
        )
    advice = advice or ["check the files of the data set"]
    text = f"{', '.join(advice[:-1])} or {advice[-1]}" if advice[1:] else advice[0]
    return f"{text[0].upper()}{text[1:]}."


def _choices(config: DataConfig) -> Mapping[str, Sequence[str]]:
    """The values that each selecting setting of a data set takes."""
    if isinstance(config, MiniData):
        return {"parts": PARTS}
    if isinstance(config, VscbenchData):
        return {"parts": vscbench.PARTS, "variants": vscbench.VARIANTS}
    if isinstance(config, PublishedData):
        return {**published.choices(config.name)}
    return {}


def _defects(notes: list[str]) -> str:
    return f" Notes on the files: {'; '.join(notes)}." if notes else ""


def data_names() -> list[str]:
    """The names of all benchmarks: the files of conf/data, and those of other packages."""
    own = {file.stem for file in (CONF / "data").glob("*.yaml")}
    return sorted(own | extensions("data").keys())


def require_file(data: str | Path) -> None:
    """Raise CalibError (unknown-name) for a word that is probably meant to name a benchmark: it is
    no path of a file or folder, and has no ending of a file."""
    word = isinstance(data, str) and not {"/", "\\", "."} & set(data)
    if word and not home_expanded(data).exists():
        names = data_names()
        raise CalibError(
            "unknown-name",
            f"There is no benchmark and no file '{data}'.{did_you_mean(str(data), names)} Give one "
            f"of {', '.join(names)}, or the path of a table or folder of pairs.",
        )


_SCHEMA = "/hydra/schema/data@_here_"


def load_pairs(data: str | Path, split: str | None = None, **settings: Any) -> list[Pair]:
    """The pairs of a benchmark (``data`` is its name in conf/data, e.g. mini), or of a table or
    folder (``data`` is its path).

    ``settings`` are fields of the benchmark's dataclass in calib/config/data.py, e.g. limit=100 or
    parts=["image_centric"]. ``split`` is train, validation, test, or None for all.

    Raises CalibError if the data cannot be read, a setting does not exist, or there are no pairs.
    """
    if isinstance(data, list | tuple | set | dict):
        raise CalibError(
            "invalid-value",
            f"load_pairs reads one benchmark, and was given a {type(data).__name__}. Give its name "
            "or a path. Pairs of your own are calib.Pair(id, safe, unsafe), of two calib.Examples.",
        )
    if split is not None:
        one_of("split", split, SPLITS)
    file = CONF / "data" / f"{data}.yaml"
    if isinstance(data, str) and "/" not in data and file.is_file():
        values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        defaults = [entry for entry in values.pop("defaults") if isinstance(entry, dict)]
        named = next(entry[_SCHEMA] for entry in defaults if _SCHEMA in entry)
        schema: type[DataConfig] = DATA[named]
    elif data in extensions("data"):
        values, schema = {"name": data}, extensions("data")[str(data)].schema
    else:
        require_file(data)
        values, schema = {"file": str(data)}, DATA["pairs"]
    loaded = pairs(
        load_benchmark(typed_config([schema], values | settings, what=str(data))).examples
    )
    if not loaded:
        own = "Give twins the same value in column 'pair'."
        advice = own if schema is PairsData else "Name data with twins (docs/benchmarks.md)."
        raise CalibError(
            "too-few", f"'{data}' has no pairs of a safe and an unsafe example. {advice}"
        )
    selected = [pair for pair in loaded if split in (None, pair.safe.split)]
    if not selected:
        raise CalibError(
            "too-few",
            f"None of the {len(loaded)} pairs of '{data}' is in split '{split}'. Choose another "
            "split, or add pairs.",
        )
    return selected
