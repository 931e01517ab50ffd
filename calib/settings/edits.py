"""Edits at the layers of a grid."""

from collections.abc import Callable, Sequence
from typing import cast

from calib.engine.edit import Edit, Edits
from calib.engine.operators import Operator
from calib.vlm.layers import Site
from calib.vlm.prompts import Positions


def grid_layers(layers: Sequence[int], together: bool) -> list[int | None]:
    """The layers of a grid: each alone, or None for all of them together."""
    return [None] if together else list(layers)


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
