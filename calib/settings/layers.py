"""Which decoder blocks a configuration means: all, a band, one, or a list."""

from collections.abc import Sequence

from calib.errors import CalibError
from calib.vlm.load import VLM

BANDS = {"lower": (0.0, 0.5), "middle": (0.25, 0.75), "upper": (0.5, 1.0)}
"""Named parts of the depth, as shares: papers give layers of models of one depth."""


def layers_of(vlm: VLM, wanted: int | Sequence[int] | str) -> list[int]:
    """Layer numbers for "all", the name of a band, one number or several.

    "auto" means all here: which of them is chosen is found out later.
    Raises CalibError for a layer that the model does not have.
    """
    if isinstance(wanted, str):
        low, high = BANDS.get(wanted, (0.0, 1.0))
        return list(range(int(low * vlm.layers), max(1, int(high * vlm.layers))))
    chosen = [wanted] if isinstance(wanted, int) else sorted(set(wanted))
    for layer in chosen:
        if not 0 <= layer < vlm.layers:
            raise CalibError(
                f"layer {layer} does not exist: {vlm.checkpoint} has layers 0 to {vlm.layers - 1}."
            )
    return chosen
