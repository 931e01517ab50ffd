"""The settings of a finished run as its folder keeps them, typed again."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from calib.config_methods import METHODS, Combine
from calib.config_prompts import MethodConfig
from calib.errors import CalibError
from calib.runs.tables import CONFIG_FILE


def settings_of(folder: Path) -> dict[str, Any]:
    """All settings of a sweep, by their names.

    Raises CalibError where its configuration is missing or damaged.
    """
    path = folder / CONFIG_FILE
    try:
        # Not resolved: what looks like a variable in somebody's file is a text.
        found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise CalibError(
            f"{path} cannot be read ({error}). Give the sweep's command again."
        ) from error
    names = ("model", "method", "methods", "data", "utility", "judge", "generation", "seed")
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise CalibError(f"{path} is no configuration of a sweep. Give the sweep's command again.")
    return {str(name): value for name, value in found.items()}


def method_of(settings: dict[str, Any], name: str) -> MethodConfig | None:
    """The method of that name in a run's settings; None where there is none."""
    methods = settings["methods"]
    several = list(methods.values()) if isinstance(methods, dict) else []
    for one in [*(several or [settings["method"]]), settings.get("reference")]:
        if isinstance(one, dict) and one.get("name") == name:
            found = typed(list(METHODS.values()), one)
            assert isinstance(found, MethodConfig)
            return found
    return None


def typed(classes: Sequence[type], given: Any) -> Any:
    """``given`` (settings as a run keeps them) as the class whose fields it has.

    Raises CalibError where none has them: the run was made by another version.
    """
    if isinstance(given, dict):
        for cls in classes:
            if given.keys() == {one.name for one in fields(cls)}:
                inner = {
                    name: typed(list(METHODS.values()), value)
                    if cls is Combine and isinstance(value, dict)
                    else value
                    for name, value in given.items()
                }
                return cls(**inner)
    name = given.get("name", "something") if isinstance(given, dict) else given
    raise CalibError(
        f"the run's settings of '{name}' are not those of this version of calib. Give the sweep's "
        "command again with another out=FOLDER."
    )
