"""What can be configured: one dataclass per noun, with its types, defaults and meanings.

These are the schemas behind ``conf/``: Hydra composes a configuration from the YAML files and the
command line, checks it against them and hands an entry point the dataclasses themselves. Nothing
here is imported by name from YAML, and nothing here imports torch, so ``--help`` stays fast.
A field without a default must be given.
"""

import functools
from pathlib import Path

from calib.config.commands import (
    ImportConfig,
    ConvertConfig,
    DualbenchConfig,
    ExportConfig,
    JudgeRunConfig,
    PlotConfig,
    ReportConfig,
    ServeConfig,
)
from calib.config.data import DATA, UTILITIES
from calib.config.judge import JUDGES
from calib.config.method import METHODS
from calib.config.model import ModelConfig, RemoteModelConfig
from calib.config.sweep import ExtractConfig, SweepConfig

HERE = Path(__file__).resolve().parents[1]
# In a checkout conf/ stands beside the package, in a wheel inside it.
CONF = next((d for d in (HERE / "conf", HERE.parent / "conf") if d.is_dir()), HERE / "conf")


GROUPS: dict[str, dict[str, type]] = {
    "model": {"any": ModelConfig, "remote": RemoteModelConfig},
    "method": METHODS,
    "data": DATA,
    "utility": UTILITIES,
    "judge": JUDGES,
}
"""Schemas of the options of each config group; "any" where all options share one."""

ENTRY_POINTS: dict[str, type] = {
    "sweep": SweepConfig,
    "extract": ExtractConfig,
    "export": ExportConfig,
    "import": ImportConfig,
    "convert": ConvertConfig,
    "plot": PlotConfig,
    "report": ReportConfig,
    "judge": JudgeRunConfig,
    "dualbench": DualbenchConfig,
    "serve": ServeConfig,
}


@functools.cache  # Hydra 1.4 warns when a name is registered twice
def register() -> None:
    """Tell Hydra the schemas, under the names the YAML files extend them by."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, schema in ENTRY_POINTS.items():
        store.store(name=f"{name}_schema", node=schema)
    for group, schemas in GROUPS.items():
        for name, schema in schemas.items():
            # Under hydra/, which --help leaves out of the list of groups to choose from.
            store.store(group=f"hydra/schema/{group}", name=name, node=schema)
