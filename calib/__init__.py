"""calib: test-time safety calibration of vision-language models.

The library: dir(calib) lists it, and docs/library.md explains it. The command line: calib --help,
or python -m calib.sweep --help.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0rc1"

_MODULES = {
    "load": "calib.api.loading",
    "wrap": "calib.api.loading",
    "fit": "calib.api.fitting",
    "Model": "calib.api.model",
    "CalibratedModel": "calib.api.model",
    "slider": "calib.api.widget",
    "load_pairs": "calib.data.benchmarks",
    "draw": "calib.report.figures.gallery",
    "Example": "calib.data.example",
    "Pair": "calib.data.example",
    "Direction": "calib.directions.direction",
    "read_direction": "calib.directions.direction",
    "write_direction": "calib.directions.direction",
    "Run": "calib.runs.run",
    "CalibError": "calib.util.errors",
}
"""The public names and the modules that define them."""

_RENAMED = {"extract": "fit", "Steerable": "Model"}
"""Former public names, which warn for one version."""

__all__ = list(_MODULES)

if TYPE_CHECKING:
    from calib.api.fitting import fit as fit
    from calib.api.loading import load as load
    from calib.api.loading import wrap as wrap
    from calib.api.model import CalibratedModel as CalibratedModel
    from calib.api.model import Model as Model
    from calib.api.widget import slider as slider
    from calib.data.benchmarks import load_pairs as load_pairs
    from calib.data.example import Example as Example
    from calib.data.example import Pair as Pair
    from calib.directions.direction import Direction as Direction
    from calib.directions.direction import read_direction as read_direction
    from calib.directions.direction import write_direction as write_direction
    from calib.report.figures.gallery import draw as draw
    from calib.runs.run import Run as Run
    from calib.util.errors import CalibError as CalibError


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", "__doc__"})


def __getattr__(name: str) -> Any:
    # Imported on first use: --help must not wait for torch.
    import importlib

    if name in _RENAMED:
        import warnings

        present = _RENAMED[name]
        message = f"calib.{name} is now called calib.{present}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        name = present
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    if name.startswith("_"):  # asked for by Python itself, e.g. at an import
        raise AttributeError(f"module 'calib' has no attribute '{name}'")
    known = importlib.import_module("calib.util.names_elsewhere")
    raise AttributeError(known.no_attribute("module 'calib'", name, __dir__(), known.OF_CALIB))
