"""calib: test-time safety calibration of vision-language models.

From Python: calib.load, calib.load_pairs, calib.extract, calib.draw, calib.Example, calib.Pair,
calib.Direction, calib.read_direction, calib.write_direction (see calib.library). At the command
line: python -m calib.sweep --help.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "calib.library",
    "Steerable": "calib.library",
    "load_pairs": "calib.data.named_pairs",
    "draw": "calib.report.figures.drawn",
    "Example": "calib.data.example",
    "Pair": "calib.data.example",
    "Direction": "calib.directions.direction",
    "read_direction": "calib.directions.direction",
    "write_direction": "calib.directions.direction",
    "CalibError": "calib.errors",
}

__all__ = ["extract", *_HOMES]

if TYPE_CHECKING:
    from calib.data.example import Example as Example
    from calib.data.example import Pair as Pair
    from calib.data.named_pairs import load_pairs as load_pairs
    from calib.directions.direction import Direction as Direction
    from calib.directions.direction import read_direction as read_direction
    from calib.directions.direction import write_direction as write_direction
    from calib.errors import CalibError as CalibError
    from calib.library import Steerable as Steerable
    from calib.library import extract as extract
    from calib.library import load as load
    from calib.report.figures.drawn import draw as draw


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
