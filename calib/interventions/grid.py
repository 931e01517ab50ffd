"""The layers of a grid, and the edits at each of them."""

from collections.abc import Callable, Sequence
from typing import cast

from calib.engine.edits import Edit, Edits
from calib.engine.operators import (
    Operator,
)
from calib.models.layers import Site
from calib.models.load import VLM
from calib.models.prompt_batch import Positions
from calib.util.errors import CalibError

BANDS = {"lower": (0.0, 0.5), "middle": (0.25, 0.75), "upper": (0.5, 1.0)}
"""Named parts of the depth, as shares: papers give layers of models of one depth."""


def resolve_layers(vlm: VLM, wanted: int | Sequence[int] | str) -> list[int]:
    """Layer numbers for "all", the name of a band, one number or several.

    "auto" means all here: which of them is chosen is found out later.
    Raises CalibError for a layer that the model does not have.
    """
    if isinstance(wanted, str):
        low, high = BANDS.get(wanted, (0.0, 1.0))
        return list(range(int(low * vlm.num_layers), max(1, int(high * vlm.num_layers))))
    chosen = [wanted] if isinstance(wanted, int) else sorted(set(wanted))
    for layer in chosen:
        if not 0 <= layer < vlm.num_layers:
            raise CalibError(
                f"layer {layer} does not exist: {vlm.checkpoint} has layers 0 to "
                f"{vlm.num_layers - 1}."
            )
    return chosen


def grid_layers(layers: Sequence[int], all_layers_at_once: bool) -> list[int | None]:
    """The layers of a grid: each alone, or None for all of them together."""
    return [None] if all_layers_at_once else list(layers)


def edits_at(
    layer: int | None,
    layers: Sequence[int],
    operator: Callable[[int], Operator],
    positions: str,
    site: str = "residual",
) -> Edits:
    """An edit at one layer of the grid, or (None) one at each of ``layers``; ``operator`` makes it
    by layer."""
    where = cast(Positions, positions), cast(Site, site)
    return tuple(Edit(at, operator(at), *where) for at in (layers if layer is None else [layer]))
