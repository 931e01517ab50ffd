"""The configuration of a command line, without running the command."""

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from calib.config.schemas import CONF, register

MANDATORY = {
    "plot": ["runs=[runs/one]"],
    "report": ["runs=[runs/one]"],
    "dualbench": ["out=pictures"],
    "convert": ["source=FOLDER", "out=converted"],
    "import": ["file=vector.gguf", "format=gguf"],
}


def composed(name, *overrides):
    """The dataclass that a command gets."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return OmegaConf.to_object(compose(name, [*MANDATORY.get(name, []), *overrides]))
