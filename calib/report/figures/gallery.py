"""Every figure of finished runs by its name, and how wide it is unless one says otherwise."""

from calib.report.figures import (
    calibration_against_utility,
    categories,
    heat_map,
    layers,
    methods,
    perturbations,
    projections,
    sra_plane,
    trade_off,
    vscbench_grid,
)
from calib.report.figures.drawing import Draw

FIGURES: dict[str, Draw] = {
    "trade_off": trade_off.draw,
    "calibration_against_utility": calibration_against_utility.draw,
    "sra_plane": sra_plane.draw,
    "methods": methods.draw,
    "vscbench_grid": vscbench_grid.draw,
    "heat_map": heat_map.draw,
    "layers": layers.draw,
    "categories": categories.draw,
    "perturbations": perturbations.draw,
    "projections": projections.draw,
}

NATURAL_COLUMNS: dict[str, int] = {
    "trade_off": 2,
    "calibration_against_utility": 2,
    "sra_plane": 1,
    "methods": 2,
    "vscbench_grid": 2,
    "heat_map": 2,
    "layers": 1,
    "categories": 2,
    "perturbations": 2,
    "projections": 2,
}
"""Columns of a paper that each figure is drawn over."""
