"""Calibration methods: one file each, found by its name.

The docstring of a method's file gives its formula with shapes and its source, and has four
paragraphs, from which docs/methods.md is generated:

    Authors: the method in the paper and in the authors' released code.
    Here: the method in this file, with every difference.
    Supervised: yes or no, and the labels that it is fitted to.
    Searched: the settings from which the operating point is chosen.

The file defines

    def method(fitting: Fitting, config: MethodConfig) -> Method: ...

where ``config`` has the type that conf/method/NAME.yaml extends, and optionally, to refuse
configurations that cannot work before anything is generated,

    def check(config: MethodConfig, vlm: AnyModel, examples: Sequence[Example]) -> None: ...

Other packages add methods by entry points: calib/config/extensions.py.
"""

import importlib
import pkgutil
import typing
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from calib.config.extensions import Extension, extensions
from calib.config.prompts import MethodConfig
from calib.data.example import Example
from calib.interventions.extension_methods import extension_method
from calib.interventions.fitting import Fitting
from calib.interventions.intervention import Method
from calib.models.load import AnyModel
from calib.util.errors import CalibError, did_you_mean


def names() -> list[str]:
    """The names of all methods, in alphabetical order, with those of other packages."""
    own = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(own | extensions("method").keys())


def build(fitting: Fitting, config: MethodConfig) -> Method:
    """Fit the method that a configuration names.

    Raises CalibError if there is no such method (unknown-name), or it cannot be fitted.
    """
    module = _module(config)
    if extension := _extension(config):
        return extension_method(extension, fitting, config)
    method: Method = module.method(fitting, config)
    return method


def check(config: MethodConfig, vlm: AnyModel, examples: Sequence[Example]) -> None:
    """Raise CalibError for a configuration that cannot work, before anything is generated."""
    module = _module(config)
    extension = _extension(config)
    if hasattr(module, "check"):
        with extension.running("check") if extension else nullcontext():
            module.check(config, vlm, examples)


def _extension(config: MethodConfig) -> Extension | None:
    return extensions("method").get(config.file or config.name)


def _module(config: MethodConfig) -> Any:
    name = config.file or config.name
    if name not in names():
        raise CalibError(
            "unknown-name",
            f"There is no file calib/methods/{name}.py for method={name}."
            f"{did_you_mean(name, names())} Choose from none, {', '.join(names())}.",
        )
    extension = _extension(config)
    module: Any = extension.module if extension else importlib.import_module(f"{__name__}.{name}")
    kind = typing.get_type_hints(module.method).get("config", MethodConfig)
    if not isinstance(config, kind):
        raise CalibError(
            "mismatch",
            f"method={config.name} has the settings of {type(config).__name__}, and "
            f"calib/methods/{name}.py takes those of {kind.__name__}. For a run of an earlier "
            "version, run the sweep again with another out=FOLDER; for a method of your own, name "
            "its schema in conf/method.",
        )
    return module
