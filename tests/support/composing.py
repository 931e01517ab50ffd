"""The configuration of a command line, without running the command."""

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from quick_hydra import speed_up

from calib.config.schemas import CONF, register

MANDATORY = {
    "plot": ["runs=[runs/one]"],
    "report": ["runs=[runs/one]"],
    "dualbench": ["out=pictures"],
    "convert": ["source=FOLDER", "out=converted"],
    "import": ["file=vector.gguf", "format=gguf"],
    "pairs": ["check=pairs.csv"],
}

REQUIRED = {"model=hf": ["model.checkpoint=Org/Model"]}
"""Settings that must be given with an option."""


def option(group, name):
    """The overrides that choose an option of a group, with the settings that it requires."""
    choice = f"{group}={name}"
    return [choice, *REQUIRED.get(choice, ())]


def composed(name, *overrides, mandatory=None):
    """The dataclass that a command gets.

    ``mandatory`` replaces the overrides that are given to commands with mandatory settings.
    """
    register()
    speed_up()
    given = MANDATORY.get(name, ()) if mandatory is None else mandatory
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return OmegaConf.to_object(compose(name, [*given, *overrides]))
