"""The command that repeats a run, for its record."""

import shlex

from hydra.core.hydra_config import HydraConfig

from calib.cli.secrets import without_keys

PLACES = ("out", "shard", "shard_wait", "devices", "engine.base_url")
"""Settings that only say where rows are made and written, and who waits for them. They may name a
machine."""


def repeating_command() -> str | None:
    """The command of this job, quoted for a POSIX shell; None outside of a command.

    A job of ``-m`` has its own values. Left out are the settings of PLACES and Hydra's own; values
    of environment variables that are keys by their names are replaced by the names.
    """
    if not HydraConfig.initialized():
        return None
    settings = HydraConfig.get()
    kept = [
        without_keys(text)
        for text in settings.overrides.task
        if text.lstrip("+~").partition("=")[0] not in PLACES
    ]
    return shlex.join(["python", "-m", f"calib.{settings.job.config_name}", *kept])
