"""The pairs of a benchmark by its name, for those who call calib from Python."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calib.config import CONF
from calib.config_checks import one_of
from calib.config_data import DATA, DataConfig
from calib.data.benchmarks import load_benchmark
from calib.data.example import SPLITS, Pair, pairs
from calib.errors import CalibError

_SCHEMA = "/hydra/schema/data@_here_"


def load_pairs(data: str | Path, split: str | None = None, **settings: Any) -> list[Pair]:
    """The pairs of the benchmark of that name in conf/data (mini is the mini world), or of a table
    or folder of your own; ``settings`` are those of its dataclass in calib/config_data.py, e.g.
    limit=100 or parts=["image_centric"]. ``split`` is train, validation, test, or None for all.

    Raises CalibError when it cannot be read, a setting does not exist, or there are no pairs.
    """
    if split is not None:
        one_of("split", split, SPLITS)
    file = CONF / "data" / f"{data}.yaml"
    if isinstance(data, str) and "/" not in data and file.is_file():
        chosen = yaml.safe_load(file.read_text(encoding="utf-8"))
        named = (one for one in chosen.pop("defaults") if isinstance(one, dict))
        schema = DATA[next(one[_SCHEMA] for one in named if _SCHEMA in one)]
    else:
        chosen, schema = {"file": str(data)}, DATA["pairs"]
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), chosen, settings)
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise CalibError(f"calib.load_pairs: {str(error).splitlines()[0]}.") from error
    assert isinstance(config, DataConfig)
    found = pairs(load_benchmark(config).examples)
    if not found:
        raise CalibError(
            f"'{data}' has no pairs of a safe and an unsafe example. Give twins one name in column "
            "pair."
        )
    kept = [pair for pair in found if split in (None, pair.safe.split)]
    if not kept:
        raise CalibError(
            f"None of the {len(found)} pairs of '{data}' is in split {split}. Ask for another, or "
            "have more pairs."
        )
    return kept
