"""Choose the questions of ``utility=auto`` by the model, and by what was downloaded before."""

import importlib.util
from pathlib import Path

import yaml

from calib.config.data import PublishedUtility, UtilityConfig
from calib.config.model import MINI, PACKAGED, ModelChoice, ModelConfig

AUTO = "auto"
SETS = ("mme", "mmstar", "scienceqa", "mmmu", "pope")
"""Published sets in the order of preference: with pictures and many subjects first."""


def chosen_utility(utility: UtilityConfig, model: ModelChoice) -> UtilityConfig:
    """The questions that ``utility`` names, or for "auto" those that suit the model.

    An included model gets the questions of its own world. Every other model gets the first of SETS
    in the hub's cache on this machine, else none: a mini world's drawings are so easy for it that a
    loss would not show. Nothing is downloaded.
    """
    if utility.name != AUTO:
        return utility
    if isinstance(model, ModelConfig) and (model.checkpoint or MINI) in PACKAGED:
        return UtilityConfig(PACKAGED[model.checkpoint or MINI], utility.limit)
    for name in SETS:
        option = _option(name)
        if _is_downloaded(str(option.hub)):
            option.limit = utility.limit
            return option
    return UtilityConfig("none")


def _option(name: str) -> PublishedUtility:
    from calib.config.schemas import CONF  # it imports the commands' settings, which import this

    text = (CONF / "utility" / f"{name}.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    del settings["defaults"]
    return PublishedUtility(**settings)


def _is_downloaded(dataset: str) -> bool:
    """Whether the hub's cache holds files of a dataset, and the package to read them is there."""
    from huggingface_hub.constants import HF_HUB_CACHE

    snapshots = Path(HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob("*/*")) and importlib.util.find_spec("datasets") is not None
