"""Layers of a method's grid, and the edits made at each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from calib.config.choices import Positions, Site
from calib.engine.edits import Edit, Edits
from calib.engine.operators import Operator
from calib.models.layers import layers_with
from calib.models.load import VLM
from calib.util.errors import CalibError

BANDS = {"lower": (0.0, 0.5), "middle": (0.25, 0.75), "upper": (0.5, 1.0)}
"""Named bands of layers, as shares of the depth, which carry over to models of another depth."""


def resolve_layers(
    vlm: VLM, layers: int | Sequence[int] | str, site: str = "residual"
) -> list[int]:
    """Layer numbers for "all", the name of a band, one number or several.

    "auto" gives all layers; the run selects one of them later. "all" and bands leave out blocks
    without the site.

    Raises CalibError (invalid-value) for a layer that the model does not have, or (unsupported) for
    one that lacks the site.
    """
    every = range(vlm.num_layers)
    available = every if site == "residual" else layers_with(vlm.model, cast(Site, site))
    if isinstance(layers, str):
        low, high = BANDS.get(layers, (0.0, 1.0))
        band = range(int(low * vlm.num_layers), max(1, int(high * vlm.num_layers)))
        if chosen := [layer for layer in band if layer in available]:
            return chosen
        raise _missing_site(vlm, f"the layers={layers}", site, available)
    numbers = [layers] if isinstance(layers, int) else sorted(set(layers))
    for layer in numbers:
        if not 0 <= layer < vlm.num_layers:
            raise CalibError(
                "invalid-value",
                f"layer {layer} does not exist: {vlm.checkpoint} has layers 0 to "
                f"{vlm.num_layers - 1}.",
            )
        if layer not in available:
            raise _missing_site(vlm, f"layer {layer}", site, available)
    return numbers


def _missing_site(vlm: VLM, layer: str, site: str, available: Sequence[int]) -> CalibError:
    why = "no attention, or heads of another width" if site == "heads" else "no MLP"
    return CalibError(
        "unsupported",
        f"site={site} and {layer}: {vlm.checkpoint} has the site in layers "
        f"{', '.join(map(str, available))}; its other blocks have {why}. Give some of these layers "
        "(layers=all takes all of them), or site=residual.",
    )


@dataclass(frozen=True)
class LayerGrid:
    """The layers of a method's grid, and the decoder blocks that are edited at each of them."""

    band: tuple[int, ...]
    """The decoder blocks that ``method.layers`` stands for."""
    layers: tuple[int | None, ...]
    """The grid's layers; None edits the whole band."""
    all_layers_at_once: bool
    """Whether a setting edits several layers."""

    @classmethod
    def of(
        cls,
        band: Sequence[int],
        all_layers_at_once: bool = False,
        first_layers: int | Sequence[int] | str | None = None,
    ) -> "LayerGrid":
        """One layer at a time, or all of the band at once, from each of ``first_layers`` on.

        Raises CalibError (invalid-value) for a first layer outside of the band.
        """
        if not all_layers_at_once:
            return cls(tuple(band), tuple(band), False)
        if first_layers is None:
            return cls(tuple(band), (None,), True)
        given = [first_layers] if isinstance(first_layers, int) else first_layers
        first = list(band) if isinstance(given, str) else sorted(set(given))
        for layer in first:
            if layer not in band:
                raise CalibError(
                    "invalid-value",
                    f"method.first_layers: layer {layer} is not one of method.layers, which are "
                    f"{', '.join(map(str, band))}.",
                )
        return cls(tuple(band), tuple(first), True)

    def edited(self, layer: int | None) -> tuple[int, ...]:
        """The decoder blocks that are edited at a layer of the grid.

        The whole band for None; that layer, or the band from that layer on if several layers are
        edited at once.
        """
        if layer is None:
            return self.band
        if self.all_layers_at_once:
            return tuple(number for number in self.band if number >= layer)
        return (layer,)


def edits_at(
    layers: Sequence[int],
    operator: Callable[[int], Operator],
    positions: str,
    site: str = "residual",
) -> Edits:
    """One edit at each of ``layers``; ``operator`` makes the operator for a layer number."""
    return tuple(
        Edit(number, operator(number), cast(Positions, positions), cast(Site, site))
        for number in layers
    )
