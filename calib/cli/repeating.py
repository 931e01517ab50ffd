"""The command that repeats a run, for its record."""

import dataclasses
import shlex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from calib.cli.secrets import without_keys

PLACES = ("out", "shard", "shard_wait", "devices", "engine.base_url")
"""Settings that only say where rows are made and written, and who waits for them. They may name a
machine."""


def repeating_command() -> str | None:
    """The command of this job, quoted for a POSIX shell; None outside of a command.

    A job of ``-m`` has its own values. Left out are the settings of PLACES, in tables too, and
    Hydra's own; values of environment variables that are keys by their names are replaced by the
    names.
    """
    if not HydraConfig.initialized():
        return None
    settings = HydraConfig.get()
    kept = filter(None, map(_without_places, settings.overrides.task))
    command = ["python", "-m", f"calib.{settings.job.config_name}", *map(without_keys, kept)]
    return shlex.join(command)


def _without_places(text: str) -> str | None:
    """An override without the settings of PLACES: ``engine={base_url: x, retries: 3}`` becomes
    ``engine={retries:3}``. None where nothing is left."""
    override = OverridesParser.create().parse_override(text)
    key, given = override.key_or_group, override._value
    if key in PLACES:
        return None
    kept = _kept(key, given)
    if kept == given:
        return text
    if not kept:
        return None
    reduced = dataclasses.replace(override, _value=kept)
    return f"{reduced.get_key_element()}={reduced.get_value_element_as_str()}"


def _kept(setting: str, value: Any) -> Any:
    """The value of a setting, without the settings of PLACES where it is a table."""
    if not isinstance(value, dict):
        return value
    inner = {name: (f"{setting}.{name}", part) for name, part in value.items()}
    return {name: _kept(*pair) for name, pair in inner.items() if pair[0] not in PLACES}
