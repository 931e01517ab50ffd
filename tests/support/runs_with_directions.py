"""Runs with random directions and given scores, as input for figures."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from random_directions import direction_at

from calib.directions.projections import Projections
from calib.runs.run import Run

AUROC = [0.55, 0.8, 0.7]
EFFECT = [0.1, float("nan"), 0.9]


def scored_direction(layers=3, model="mini", **changes):
    """A direction of a model with three or more layers, with AUROCs interpolated from AUROC."""
    vlm = SimpleNamespace(width=4, checkpoint=model, revision=None, fingerprint=f"print of {model}")
    auroc = np.interp(np.linspace(0, 1, layers), [0, 0.5, 1], AUROC).tolist()
    given = {"auroc": auroc, "auroc_pairs": 40, "pairs": 60, **changes}
    return direction_at(vlm, list(range(layers)), **given)


def with_effects(fitted, **changes):
    """The direction with effects at three layers and intervals of 5 points on either side."""
    bounds = {
        "effect_low": [value - 0.05 for value in EFFECT],
        "effect_high": [value + 0.05 for value in EFFECT],
    }
    effects = {"effect": EFFECT, "effect_strength": [1.0, float("nan"), 2.0]}
    return replace(fitted, effect_kl=0.1, effect_n=96, **{**effects, **bounds, **changes})


def projections(fitted):
    """Projections of 40 validation and 10 train examples per side; the means differ by 1."""
    spread = np.linspace(-1, 1, 40)
    rows = [spread + 0.6, spread - 0.4, np.full(10, 9.0)]
    sides = ["positive"] * 40 + ["negative"] * 40 + ["positive"] * 10
    splits = ["validation"] * 80 + ["train"] * 10
    values = np.repeat(np.concatenate(rows)[:, None], len(fitted.layers), axis=1)
    # A different offset per layer shows which layer a figure draws.
    values += 0.01 * np.arange(len(fitted.layers))
    return Projections([f"e{k}" for k in range(90)], sides, splits, fitted.layers, values)


def run_with_directions(directions, points=(), name="run", with_projections=True):
    """A run with these directions by name, and with operating points (method, layer)."""
    operating_points = [
        {"method": method, "layer": layer, "strength": 1.0, "strength_means": "in gap units",
         "prompt_only": False, "kept_uncalibrated": False}
        for method, layer in points
    ]  # fmt: skip
    saved = {key: projections(d) for key, d in directions.items()} if with_projections else {}
    return Run(
        Path("runs") / name, checkpoint=next(iter(directions.values())).checkpoint, results=[],
        operating_points=operating_points, directions=directions, projections=saved,
    )  # fmt: skip
