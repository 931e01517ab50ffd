"""Schemas behind conf/: the dataclass of every command and of every option of a config group.

Hydra composes a configuration from the YAML files and the command line, checks it against these
dataclasses and passes them to the command. A field without a default is required. Nothing in
calib.config imports torch, so that --help is fast.
"""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from calib.config.commands import (
    ConvertConfig,
    DualbenchConfig,
    ExportConfig,
    ImportConfig,
    PairsConfig,
    PlotConfig,
    ReportConfig,
    ServeConfig,
)
from calib.config.data import DATA, UTILITIES
from calib.config.engine import EngineChoice, VllmChoice
from calib.config.judge import JUDGES, JudgeRunConfig
from calib.config.method import METHODS
from calib.config.model import ModelConfig, RemoteModelConfig
from calib.config.sweep import ExtractConfig, PlanConfig, SweepConfig

PACKAGE = Path(__file__).resolve().parents[1]
# conf/ is beside the package in a checkout, and inside it in a wheel.
CONF = next(
    (folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()),
    PACKAGE / "conf",
)

ENTRY_POINTS: dict[str, type] = {
    "sweep": SweepConfig,
    "plan": PlanConfig,
    "extract": ExtractConfig,
    "report": ReportConfig,
    "plot": PlotConfig,
    "judge": JudgeRunConfig,
    "serve": ServeConfig,
    "export": ExportConfig,
    "import": ImportConfig,
    "convert": ConvertConfig,
    "pairs": PairsConfig,
    "dualbench": DualbenchConfig,
}
"""The commands, in the order in which ``calib --help`` lists them, and their settings. Command NAME
is the module calib.NAME, configured by conf/NAME.yaml."""

SHARED: dict[str, Mapping[str, type]] = {
    "model": {"any": ModelConfig, "remote": RemoteModelConfig},
    "method": METHODS,
    "data": DATA,
    "utility": UTILITIES,
    "judge": JUDGES,
    "engine": {"transformers": EngineChoice, "vllm": VllmChoice},
}
"""Schemas of the options of each config group; "any" is the schema of options without their own."""


def _own_schemas(group: str) -> dict[str, type]:
    """Schemas in files of their own: NAME is the class that calib/config/GROUP_NAME.py defines."""
    own: dict[str, type] = {}
    for module in pkgutil.iter_modules([str(PACKAGE / "config")]):
        name = module.name.removeprefix(f"{group}_")
        if name != module.name:
            file = importlib.import_module(f"calib.config.{module.name}")
            classes = [value for value in vars(file).values() if inspect.isclass(value)]
            (own[name],) = (cls for cls in classes if cls.__module__ == file.__name__)
    return own


GROUPS = {group: {**shared, **_own_schemas(group)} for group, shared in SHARED.items()}
"""SHARED, and the schemas of options that have a file of their own."""


@functools.cache  # Hydra 1.4 warns when a name is registered twice
def register() -> None:
    """Register the schemas with Hydra, under the names by which the YAML files extend them, and the
    extensions of other packages as options."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, schema in ENTRY_POINTS.items():
        store.store(name=f"{name}_schema", node=schema)
    for group, schemas in GROUPS.items():
        for name, schema in schemas.items():
            # Under hydra/, so that --help does not list them as groups to choose from.
            store.store(group=f"hydra/schema/{group}", name=name, node=schema)
    register_extensions()


def register_extensions() -> None:
    """Register the extensions of other packages as options of their config groups.

    Raises CalibError for one that cannot be used; see calib.config.extensions.
    """
    from hydra.core.config_store import ConfigStore

    from calib.config.extensions import extensions  # it imports this module

    store = ConfigStore.instance()
    for group in GROUPS:
        for name, extension in extensions(group).items():
            store.store(group=group, name=name, node=extension.schema(name=name))
