"""Runs that fitted directions to nothing, with numbers of their own, for figures to draw."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from directions_made_up import direction_at

from calib.directions.projections import Projections
from calib.runs.run import Measured
from calib.scoring.results import RunResults

AUROC = [0.55, 0.8, 0.7]
EFFECT = [0.1, float("nan"), 0.9]


def direction(layers=3, model="mini", **changes):
    """Of a model with three layers, or more."""
    vlm = SimpleNamespace(width=4, checkpoint=model, revision=None, fingerprint=f"print of {model}")
    auroc = np.interp(np.linspace(0, 1, layers), [0, 0.5, 1], AUROC).tolist()
    given = {"auroc": auroc, "auroc_pairs": 40, "pairs": 60, **changes}
    return direction_at(vlm, list(range(layers)), **given)


def with_effects(given, **changes):
    """Effects at three layers, with intervals five points to either side."""
    bounds = {
        "effect_low": [value - 0.05 for value in EFFECT],
        "effect_high": [value + 0.05 for value in EFFECT],
    }
    effects = {"effect": EFFECT, "effect_strength": [1.0, float("nan"), 2.0]}
    return replace(given, effect_kl=0.1, effect_n=96, **{**effects, **bounds, **changes})


def projections(given):
    """40 validation examples a side and 10 train ones, apart by one at every layer."""
    along = np.linspace(-1, 1, 40)
    rows = [along + 0.6, along - 0.4, np.full(10, 9.0)]
    sides = ["positive"] * 40 + ["negative"] * 40 + ["positive"] * 10
    splits = ["validation"] * 80 + ["train"] * 10
    values = np.repeat(np.concatenate(rows)[:, None], len(given.layers), axis=1)
    # Each layer is told from the others by where it lies.
    values += 0.01 * np.arange(len(given.layers))
    return Projections([f"e{k}" for k in range(90)], sides, splits, given.layers, values)


def measured(directions, points=(), name="run", on_record=True):
    """A run with these directions by name, and operating points at layers by method."""
    chosen = [
        {"method": method, "layer": layer, "strength": 1.0, "strength_means": "in gap units",
         "prompt_only": False, "kept_uncalibrated": False}
        for method, layer in points
    ]  # fmt: skip
    found = {key: projections(one) for key, one in directions.items()} if on_record else {}
    results = RunResults(name, next(iter(directions.values())).checkpoint, [])
    return Measured(Path("runs") / name, results, chosen, directions, found)
