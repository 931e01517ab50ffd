"""Third-party formats and the edits each of them can represent.

A program that reads a file of vectors adds them after a block, at every token. It cannot represent
another operator, site or choice of positions: such a direction would load without an error and
compute something else. So calib refuses to export it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from calib.directions.direction import Direction
from calib.util.errors import CalibError


@dataclass(frozen=True)
class Format:
    """A third-party format and the edits it can represent."""

    title: str
    suffix: str
    """Ending of the file name; "" for a folder."""
    operators: tuple[str, ...] = ("add",)
    sites: tuple[str, ...] = ("residual",)
    first_layer: int = 0
    """Lowest layer that its reader can edit."""
    needs_model: bool = False
    """Whether writing it needs the loaded model, because it refers to the model's modules."""


FORMATS = {
    "gguf": Format("a control vector of llama.cpp", ".gguf", first_layer=1),
    "repeng": Format("a control vector of repeng", ".gguf"),
    "easysteer": Format("a steering vector of EasySteer", ".gguf"),
    "lm_eval": Format(
        "a steering file of lm-evaluation-harness", ".pt",
        ("add", "ablate"), ("residual", "mlp"), needs_model=True,
    ),
    "baked": Format("a merged checkpoint", "", sites=("residual", "mlp"), needs_model=True),
}  # fmt: skip
"""Export formats other than "native", which represents every direction."""


def select_layers(direction: Direction, layers: Any, strength: float | None) -> Direction:
    """The direction restricted to ``layers``, with ``strength`` as its default strength.

    ``layers`` is a layer, a list of layers, or None or "all" for all of them. ``strength`` None
    keeps the default strength.

    Raises CalibError if the direction lacks one of the layers.
    """
    if layers is not None:
        listed = [layers] if isinstance(layers, int) else layers
        chosen = direction.layers if layers == "all" else sorted(set(listed))
        only = chosen[0] if len(chosen) == 1 else None
        direction = replace(direction.select_layers(chosen), chosen_layer=only)
    return direction if strength is None else replace(direction, strength=strength)


def require_expressible(
    direction: Direction, format_name: str, layers: Any = None, strength: float | None = None
) -> Direction:
    """The direction as format ``format_name`` stores it: all its layers form one edit.

    ``layers`` and ``strength`` are those of select_layers; without ``layers`` the direction must
    have one layer or a chosen layer.

    Raises CalibError if the format cannot represent the edit, or it is unclear which layers are
    meant.
    """
    target = FORMATS[format_name]
    if layers is None:
        layers = _edited_layers(direction)
    direction = select_layers(direction, layers, strength)
    for name, value, accepted in (
        ("operator", direction.operator, target.operators),
        ("site", direction.site, target.sites),
        ("positions", direction.positions or "all", ("all",)),
    ):
        if value not in accepted:
            raise CalibError(
                "unsupported",
                f"format={format_name}: the direction's {name} is '{value}', but {target.title} "
                f"only supports {' or '.join(accepted)}: {_REASONS[name]}. Run a sweep with "
                f"method.{name}={accepted[0]} and export that run, or use format=native.",
            )
    if direction.layers[0] < target.first_layer:
        raise CalibError(
            "unsupported",
            f"format={format_name}: the direction edits layer {direction.layers[0]}, but "
            f"{target.title} starts at layer {target.first_layer}, and its reader rejects files "
            "with lower layers. Choose a later layer with layers=[N].",
        )
    if not math.isfinite(direction.strength):
        raise CalibError("invalid-setting", f"strength={direction.strength} is not finite.")
    if direction.operator == "ablate" and direction.strength != 1:
        raise CalibError(
            "unsupported",
            f"format={format_name}: the direction removes {direction.strength:g} of the component, "
            f"but {target.title} can only remove all of it. Give strength=1, or use format=native.",
        )
    return direction


_REASONS = {
    "operator": "its reader would add the vector, or compute something else",
    "site": "its reader edits the output of a decoder block",
    "positions": "its reader edits every token of the prompt, the image and the response",
}


def _edited_layers(direction: Direction) -> Sequence[int]:
    if direction.chosen_layer is not None:
        return [direction.chosen_layer]
    if len(direction.layers) == 1:
        return direction.layers
    raise CalibError(
        "missing-setting",
        f"The direction has layers {direction.layers}, each a setting of its own, but the other "
        "program would apply all of them at once. Choose a layer with layers=[N]. layers=[N,M] "
        "applies several at once, as method.all_layers_at_once=true does, and layers=all applies "
        "all of them.",
    )
