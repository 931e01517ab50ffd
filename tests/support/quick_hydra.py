"""Hydra composes the same configuration in less time: tests compose thousands of times.

speed_up()

Hydra copies the store of all schemas for each composition, parses each YAML file again, prepares
for `${...}` in each defaults list, and composes a command's configuration twice, first for the one
setting hydra.mode. Here nothing is copied, parsed or composed that cannot have changed.
"""

import copy
import functools
from pathlib import Path
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf


@functools.cache
def speed_up() -> None:
    """Replace these steps of Hydra for the rest of the process."""
    ConfigStore.__deepcopy__ = lambda store, memo: store
    load, mode = FileConfigSource.load_config, Hydra.get_mode
    known = defaults_list._create_interpolation_map
    parsed: dict[tuple, ConfigResult] = {}

    def load_config(source: FileConfigSource, config_path: str) -> ConfigResult:
        file = Path(source.path, source._normalize_file_name(config_path))
        if not file.is_file():
            return load(source, config_path)  # raises Hydra's error
        key = file, source.provider, file.read_bytes()
        if key not in parsed:
            parsed[key] = load(source, config_path)
        return copy.deepcopy(parsed[key])

    def known_choices(overrides: Any, defaults: list[Any], self_added: bool) -> Any:
        used = any(default.is_interpolation() for default in defaults)
        return known(overrides, defaults, self_added) if used else OmegaConf.create()

    def get_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        given = any("hydra" in text for text in overrides)
        return mode(hydra, config_name, overrides) if given else None

    FileConfigSource.load_config = load_config
    Hydra.get_mode = get_mode
    defaults_list._create_interpolation_map = known_choices
