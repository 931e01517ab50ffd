"""A sweep of a loaded model, as python -m calib.sweep makes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calib import methods as all_methods
from calib.api.queries import listed
from calib.api.settings import IN_SWEEP, compose_sweep, in_python
from calib.config.checks import not_empty, one_of, path
from calib.config.chosen_utility import AUTO, chosen_utility
from calib.config.data import UtilityConfig
from calib.config.model import ModelConfig, default_length
from calib.config.schemas import GROUPS
from calib.data.benchmarks import data_names, require_file
from calib.models.load import VLM
from calib.report.method_table import write_method_table
from calib.runs.perform import perform
from calib.runs.run import Run
from calib.util.errors import CalibError
from calib.util.files import home_expanded

_ELSEWHERE = ("model", "engine", "shard", "devices", "experiment")
"""Settings that a loaded model decides, or that only the command has."""


def sweep(
    vlm: VLM,
    model: ModelConfig,
    methods: str | Sequence[str],
    data: str | Path,
    utility: str,
    judge: str,
    out: str | Path | None,
    settings: Mapping[str, Any],
) -> Run:
    """Run or resume the sweep; see Model.sweep."""
    names = [methods] if isinstance(methods, str) else listed(methods, "methods", "names")
    not_empty("methods", names)
    for name in names:
        one_of("methods", name, ("none", *all_methods.names()))
    if not isinstance(settings, Mapping):
        raise CalibError(
            "invalid-value",
            f"settings: {settings!r:.80} is no table. Give names and values: {{'data.limit': 60}}.",
        )
    for key in settings:
        if key in GROUPS:
            raise CalibError(
                "unsupported",
                f"settings: '{key}' is no single setting. Methods, data, utility and judge are "
                "arguments of sweep.",
            )
        if str(key).partition(".")[0].partition("@")[0] in _ELSEWHERE and "@" not in str(key):
            raise CalibError(
                "unsupported",
                f"{key}: a sweep in Python runs the model that is loaded, in this process. Omit "
                "it, or use python -m calib.sweep.",
            )
    if utility == AUTO:  # by the model that is loaded, which the settings do not name
        utility = chosen_utility(UtilityConfig(AUTO), model).name
    choices = {"utility": utility, "judge": judge} | _methods(names)
    own: dict[str, Any] = {"generation.max_new_tokens": default_length(model)}
    own |= _data(data, choices)
    if out is not None:
        path("out", str(out))  # an empty text would be the current folder
        own["out"] = str(home_expanded(out))
    with in_python(IN_SWEEP):
        config = compose_sweep(choices, own | _by_method(settings, names))
        config = replace(config, model=model, report=False)
        run = perform(config, vlm, _ignore, _ignore, _write)
    assert isinstance(run, Run), "only a shard has no run"
    return run


def _methods(names: Sequence[str]) -> dict[str, str]:
    if len(names) == 1:
        return {"method": names[0]}
    several = {f"+method@methods.{name}": str(name) for name in names}
    return {"method": "none"} | several


def _by_method(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """``settings`` with those of methods where a sweep of so many methods has them.

    Raises CalibError (unknown-setting) for one of several methods that does not name its method.
    """
    several, named = len(names) > 1, {}
    for key, value in settings.items():
        first, _, rest = str(key).partition(".")
        if several and first == "method":
            raise CalibError(
                "unknown-setting",
                f"'{key}' does not say of which method. Give 'methods.{names[0]}.{rest}' for "
                f"{names[0]}, and likewise for the others.",
            )
        own = not several and str(key).startswith(f"methods.{names[0]}.")
        named[f"method.{rest.partition('.')[2]}" if own else key] = value
    return named


def _data(data: str | Path, choices: dict[str, str]) -> dict[str, Any]:
    """Add the data set to ``choices``; the settings that name its file."""
    if data in data_names():
        choices["data"] = str(data)
        return {}
    if isinstance(data, str | Path):
        require_file(data)
        choices["data"] = "pairs"
        return {"data.file": str(data)}
    raise CalibError(
        "invalid-value",
        f"The data of a sweep are of type {type(data).__name__}. Give the name of a benchmark in "
        "conf/data, or the path of a table or folder of pairs, which a report can read again.",
    )


def _write(run: Run) -> None:
    run.write()
    write_method_table(run)


def _ignore(_: object) -> None:
    """Lines and notes of the command's output: the run has them in ``run.provenance``."""
