"""The figure of a fitted direction: at which layers it tells safe from unsafe."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from calib.errors import CalibError
from calib.report.figures.drawing import own_style, save
from calib.report.figures.style import BLUE, write_title

_SIDES = {
    "safety": "safe and unsafe",
    "refusal": "answered and refused",
    "harmful_refusal": "answered and refused unsafe",
    "false_refusal": "answered and refused safe",
    "true_refusal": "answered safe and refused unsafe",
    "responses": "an answer's and a refusal's",
    "modality": "without and with picture",
}


def layer_separability(
    auroc: Mapping[int, float],
    model: str,
    out_stem: Path,
    intervals: Mapping[int, tuple[float, float]] | None = None,
    contrast: str = "safety",
) -> list[Path]:
    """Held-out AUROC of the two sides of a contrast by layer (0-based), with bounds where given.

    Writes OUT_STEM.png and OUT_STEM.pdf and returns their paths. Raises CalibError without layers.
    """
    if not auroc:
        raise CalibError("There is no layer to draw; give the AUROC of at least one.")
    layers = sorted(auroc)
    with own_style():
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        write_title(figure, f"Where {_SIDES[contrast]} come apart", [model])
        values = np.array([auroc[layer] for layer in layers])
        bounds = [(intervals or {}).get(layer, (auroc[layer],) * 2) for layer in layers]
        axes.plot(layers, values, color=BLUE, marker="o")
        low, high = np.array(bounds).T
        axes.vlines(layers, low, high, color=BLUE, alpha=0.5)
        axes.axhline(0.5, color="0.4", linestyle=":", linewidth=1)
        axes.annotate("chance", (1, 0.5), (-2, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right", fontsize=8, color="0.3")  # fmt: skip
        axes.set(xlabel="layer", ylabel="held-out AUROC", ylim=(min(0.45, *low) - 0.02, 1.02))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return save(figure, out_stem)
