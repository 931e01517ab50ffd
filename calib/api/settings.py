"""The settings of a sweep, composed from conf/ as on the command line, and given as values."""

import copy
import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calib.cli.config_errors import explain
from calib.cli.secrets import require_no_secrets
from calib.config.extensions import settings_objects
from calib.config.schemas import CONF, GROUPS, register
from calib.config.sweep import SweepConfig
from calib.config.typed import current_override, literal
from calib.util.errors import CalibError

IN_SWEEP = (
    "In Python, NAME=VALUE is settings={'NAME': VALUE}; methods, data, utility, judge and out are "
    "arguments of sweep."
)
_COMMAND = (*GROUPS, "methods", "generation", "choose")
"""First parts of the settings that messages write as KEY=VALUE."""
IN_CALIBRATED = "In Python, method.NAME=VALUE is NAME=VALUE, an argument of calibrated."


@contextmanager
def in_python(note: str, parts: str = "|".join(_COMMAND)) -> Iterator[None]:
    """Add ``note`` to a CalibError of the block that writes settings as on the command line.

    ``parts`` is a regular expression of how these settings begin.
    """
    try:
        yield
    except CalibError as error:
        if re.search(rf"(?<![\w.])({parts})[\w.@]*=[^=\s]", error.message):
            error.message = f"{error.message} ({note})"
        raise


def compose_sweep(choices: Mapping[str, str], settings: Mapping[str, Any]) -> SweepConfig:
    """The settings of calib.sweep with these options of config groups and these values.

    Keys of ``settings`` are names of docs/configuration.md ("data.limit"); one with an @, such as
    "method@method.activation", chooses an option. Texts are taken literally.

    Raises CalibError for an option or a setting that does not exist, or a value that it does not
    take.
    """
    names = {key: _option(key, value) for key, value in choices.items()}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if not isinstance(key, str):
            raise CalibError("unknown-setting", f"{key!r:.80} is no name of a setting. Give text.")
        if "@" in key:
            names[key] = _option(key, value)
        else:
            values[current_override(f"{key}=").removesuffix("=")] = value
    register()
    overrides = [f"{key}={name}" for key, name in names.items()]
    shown = [*overrides, *(f"{key}={value}" for key, value in values.items())]
    try:
        composed = copy.deepcopy(_composed(tuple(overrides)))
        for key, value in values.items():
            OmegaConf.update(composed, key, literal(key, value))
        require_no_secrets(composed)
        config = settings_objects(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, SweepConfig, shown) from None
    assert isinstance(config, SweepConfig)
    return config


@functools.lru_cache(16)  # composing takes longer than fitting a small model
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("sweep", list(overrides))


def _option(group: str, name: Any) -> str:
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_./-]+", name):
        return name
    raise CalibError(
        "unknown-name", f"{group}: {name!r:.80} is no name of an option. Give a name, as text."
    )
