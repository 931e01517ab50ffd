"""Calibration methods: one file each, found by its name.

A method's file says in its first lines what it does, by which formula and from which paper, and has
a function

    def method(fitting: Fitting, config: ItsConfig) -> Method: ...

and, where there is something to refuse before any work is done,

    def check(config: ItsConfig, vlm: VLM, examples: Sequence[Example]) -> None: ...
"""

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Any

from calib.config.prompts import MethodConfig
from calib.data.example import Example
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.models.load import AnyModel
from calib.util.errors import CalibError, did_you_mean


def build(fitting: Fitting, config: MethodConfig) -> Method:
    """The method that a configuration names, fitted.

    Raises CalibError when there is no such method, or it cannot be fitted.
    """
    return _file(config).method(fitting, config)


def check(config: MethodConfig, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a method that could not be carried out, before anything is done."""
    file = _file(config)
    if hasattr(file, "check"):
        file.check(config, vlm, examples)


def _file(config: MethodConfig) -> Any:
    name = config.file or config.name
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in names:
        raise CalibError(
            f"method={name} has no file in calib/methods.{did_you_mean(name, names)} "
            f"Choose from none, {', '.join(names)}."
        )
    return importlib.import_module(f"{__name__}.{name}")
