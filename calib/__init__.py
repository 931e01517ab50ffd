"""calib: test-time safety calibration of vision-language models.

From Python: calib.load, calib.load_pairs, calib.extract, calib.draw, calib.Example, calib.Pair,
calib.Direction, calib.read_direction, calib.write_direction (see calib.api). At the command
line: python -m calib.sweep --help.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "calib.api",
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

__all__ = ["extract", *_HOMES]

if TYPE_CHECKING:
    from calib.api import Model as Model
    from calib.api import extract as extract
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
    # Only what is asked for is imported: the commands' --help must not wait for torch.
    import importlib

    if name == "extract":
        # The command python -m calib.extract lives under this name too; as a module it can be
        # called (see there).
        return importlib.import_module("calib.extract")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'calib' has no attribute '{name}'")
