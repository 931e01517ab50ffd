"""calib: test-time safety calibration of vision-language models.

The library: calib.load, calib.load_pairs, calib.fit, calib.draw, calib.Model, calib.Example,
calib.Pair, calib.Direction, calib.read_direction, calib.write_direction (see docs/library.md). The
command line: calib --help, or python -m calib.sweep --help.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0rc1"

_MODULES = {
    "load": "calib.api",
    "fit": "calib.api",
    "Model": "calib.api",
    "load_pairs": "calib.data.benchmarks",
    "draw": "calib.report.figures.gallery",
    "Example": "calib.data.example",
    "Pair": "calib.data.example",
    "Direction": "calib.directions.direction",
    "read_direction": "calib.directions.direction",
    "write_direction": "calib.directions.direction",
    "CalibError": "calib.util.errors",
}
"""The public names and the modules that define them."""

_RENAMED = {"extract": "fit", "Steerable": "Model"}
"""Former public names, which warn for one version."""

__all__ = list(_MODULES)

if TYPE_CHECKING:
    from calib.api import Model as Model
    from calib.api import fit as fit
    from calib.api import load as load
    from calib.data.benchmarks import load_pairs as load_pairs
    from calib.data.example import Example as Example
    from calib.data.example import Pair as Pair
    from calib.directions.direction import Direction as Direction
    from calib.directions.direction import read_direction as read_direction
    from calib.directions.direction import write_direction as write_direction
    from calib.report.figures.gallery import draw as draw
    from calib.util.errors import CalibError as CalibError


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
    raise AttributeError(f"module 'calib' has no attribute '{name}'")
