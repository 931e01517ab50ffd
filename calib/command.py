"""The one way an entry point starts: a configuration from ``conf/`` and the command line in,
one clear message and an exit code out.

An entry point is a function of its configuration:

    def main(config: SweepConfig) -> None: ...

    if __name__ == "__main__":
        command.run(main, "sweep", SweepConfig)

Exit codes: 0 done, 1 a bug (with its traceback), 2 something the user can put right (one message),
130 stopped by Ctrl-C. ``HYDRA_FULL_ERROR=1`` shows the traceback of every error.
"""

import dataclasses
import errno
import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from calib.config import register
from calib.config_errors import explain, unknown_setting
from calib.errors import CalibError

HERE = Path(__file__).resolve().parent
# In a checkout conf/ stands beside the package, in a wheel inside it.
CONF = next((d for d in (HERE / "conf", HERE.parent / "conf") if d.is_dir()), HERE / "conf")

HYDRA_INSIDE = Path(hydra.__file__).parent / "_internal"

BUG, USER_ERROR, INTERRUPTED = 1, 2, 130

Config = TypeVar("Config")


def run(main: Callable[[Config], None], config_name: str, schema: type[Config]) -> None:
    """Run ``main`` with the configuration that ``conf/<config_name>.yaml`` and the command line
    say, once, or once per combination under ``-m``.

    Returns when all went well and leaves through ``SystemExit`` otherwise. Under ``-m`` the failure
    of one job is told at once and the others still run.
    """
    register()
    # Hydra would print errors in its own words; with this set it raises them and we explain them.
    # The user who sets it wants tracebacks.
    full_tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    launcher = os.getpid()
    codes: list[int] = []

    @functools.wraps(main)
    def job(composed: DictConfig) -> None:
        try:
            main(_typed(composed, schema))
        except Exception as error:
            if os.getpid() != launcher:  # a launcher's worker: it carries the error home
                raise
            codes.append(_report(error, schema, f"calib.{config_name}{_job()}", full_tracebacks))

    with warnings.catch_warnings():
        # Hydra 1.4 warns about the very version_base that makes 1.3 behave like it.
        warnings.filterwarnings("ignore", message=".*version_base.*")
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
    try:
        start(job)()
    except BrokenPipeError:  # whoever read the output, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        codes.append(_report(error, schema, f"calib.{config_name}", full_tracebacks))
    finally:
        if not full_tracebacks:
            del os.environ["HYDRA_FULL_ERROR"]
    if codes:
        sys.exit(INTERRUPTED if INTERRUPTED in codes else min(codes))


def _typed(composed: DictConfig, schema: type[Config]) -> Config:
    config = OmegaConf.to_object(composed)
    assert isinstance(config, schema)
    # +key=value gets past the schema; nothing would ever read it.
    for key in _unread(OmegaConf.to_container(composed), config):
        raise CalibError(unknown_setting(key, schema))
    return config


def _unread(given: Any, config: Any, prefix: str = "") -> Iterator[str]:
    if not dataclasses.is_dataclass(config):
        return
    fields = {field.name for field in dataclasses.fields(config)}
    for key, value in given.items():
        if key in fields:
            yield from _unread(value, getattr(config, key), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _report(error: BaseException, schema: type, who: str, full_tracebacks: bool) -> int:
    """Print what went wrong, return the exit code."""
    message, code = _verdict(error, schema)
    if message is None or full_tracebacks:
        traceback.print_exception(error)
    if message is not None:
        print(f"{who}: {message}", file=sys.stderr)
    return code


def _verdict(error: BaseException, schema: type) -> tuple[str | None, int]:
    if isinstance(error, KeyboardInterrupt):
        message = "stopped; finished rows are kept, run the same command to continue"
        return message, INTERRUPTED
    if isinstance(error, CalibError):
        return str(error), USER_ERROR
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, schema, [text for text in sys.argv[1:] if "=" in text]), USER_ERROR
    # YAML's errors say which file and line themselves.
    if isinstance(error, yaml.YAMLError) or _refused_by_hydra(error):
        return str(error), USER_ERROR
    if _disk_is_full(error):
        message = (
            f"The disk is full ({error}). Finished rows are safe: free some space and run the same "
            "command to continue."
        )
        return message, USER_ERROR
    return None, BUG


def _job() -> str:
    """What sets this job of a multirun apart, to tell its errors from the others'."""
    settings = HydraConfig.get()
    if settings.mode is not RunMode.MULTIRUN:
        return ""
    return f" [{' '.join(settings.overrides.task)}]"


def _disk_is_full(error: BaseException | None) -> bool:
    # safetensors and torch wrap the system's error in their own and keep only its text.
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refused_by_hydra(error: BaseException) -> bool:
    # Flags that exclude each other and a group set to null: Hydra raises a bare ValueError there.
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    return isinstance(error, ValueError) and Path(raised_in).is_relative_to(HYDRA_INSIDE)
