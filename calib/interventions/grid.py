"""Layers of a method's grid, and the edits made at each of them."""

from collections.abc import Callable, Sequence
from typing import cast

from calib.config.choices import Positions, Site
from calib.engine.edits import Edit, Edits
from calib.engine.operators import Operator
from calib.models.load import VLM
from calib.util.errors import CalibError

BANDS = {"lower": (0.0, 0.5), "middle": (0.25, 0.75), "upper": (0.5, 1.0)}
"""Named bands of layers, as shares of the depth, which carry over to models of another depth."""


def resolve_layers(vlm: VLM, layers: int | Sequence[int] | str) -> list[int]:
    """Layer numbers for "all", the name of a band, one number or several.

    "auto" gives all layers; the run selects one of them later.
    Raises CalibError (invalid-value) for a layer that the model does not have.
    """
    if isinstance(layers, str):
        low, high = BANDS.get(layers, (0.0, 1.0))
        return list(range(int(low * vlm.num_layers), max(1, int(high * vlm.num_layers))))
    numbers = [layers] if isinstance(layers, int) else sorted(set(layers))
    for layer in numbers:
        if not 0 <= layer < vlm.num_layers:
            raise CalibError(
                "invalid-value",
                f"layer {layer} does not exist: {vlm.checkpoint} has layers 0 to "
                f"{vlm.num_layers - 1}.",
            )
    return numbers


def grid_layers(layers: Sequence[int], all_layers_at_once: bool) -> list[int | None]:
    """The layers of a grid: each layer by itself, or [None] when all are edited at once."""
    return [None] if all_layers_at_once else list(layers)


def edits_at(
    layer: int | None,
    layers: Sequence[int],
    operator: Callable[[int], Operator],
    positions: str,
    site: str = "residual",
) -> Edits:
    """The edit at ``layer``, or one edit at each of ``layers`` if ``layer`` is None.

    ``operator`` makes the operator for a layer number.
    """
    edited = layers if layer is None else [layer]
    return tuple(
        Edit(number, operator(number), cast(Positions, positions), cast(Site, site))
        for number in edited
    )
