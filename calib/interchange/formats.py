"""The formats of others, and what each of them can say: a direction that is more is refused.

A file of vectors that is read by a program which adds them, after a block, at every token, says
nothing else. A direction that was measured with another operator, site or choice of tokens would
load there without complaint and do something else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from calib.directions.direction import Direction
from calib.util.errors import CalibError


@dataclass(frozen=True)
class Format:
    """A format, and the edits that it has a place for."""

    title: str
    suffix: str
    """Ending of its file; "" where it is a folder."""
    operators: tuple[str, ...] = ("add",)
    sites: tuple[str, ...] = ("residual",)
    first_layer: int = 0
    needs_model: bool = False
    """Whether it is made for the modules of one model, which must be loaded."""


FORMATS = {
    "gguf": Format("a control vector of llama.cpp", ".gguf", first_layer=1),
    "repeng": Format("a control vector of repeng", ".gguf"),
    "easysteer": Format("a steering vector of EasySteer", ".gguf"),
    "lm_eval": Format(
        "a steering file of lm-evaluation-harness", ".pt",
        ("add", "ablate"), ("residual", "mlp"), needs_model=True,
    ),
    "baked": Format("a checkpoint", "", sites=("residual", "mlp"), needs_model=True),
}  # fmt: skip
"""Those besides calib's own, which says everything a direction has."""


def cut(direction: Direction, layers: Any, strength: float | None) -> Direction:
    """The direction with these layers only (None or "all": those it has) and this default strength.

    Raises CalibError when it lacks one of the layers.
    """
    if layers is not None:
        listed = [layers] if isinstance(layers, int) else layers
        chosen = direction.layers if layers == "all" else sorted(set(listed))
        direction = replace(direction.of_layers(chosen), chosen_layer=_only(chosen))
    return direction if strength is None else replace(direction, strength=strength)


def expressible(
    direction: Direction, name: str, layers: Any = None, strength: float | None = None
) -> Direction:
    """What is written as format ``name``: all layers of the result are edited at once, with its
    strength.

    Raises CalibError when the format cannot say what the direction does, or when nobody has said
    which of its layers are meant.
    """
    form = FORMATS[name]
    if layers is None:
        layers = _meant(direction)
    direction = cut(direction, layers, strength)
    for what, value, fine, instead in (
        ("operator", direction.operator, form.operators, "method.operator"),
        ("site", direction.site, form.sites, "method.site"),
        ("positions", direction.positions or "all", ("all",), "method.positions"),
    ):
        if value not in fine:
            raise CalibError(
                f"format={name}: the direction is for {what} '{value}', and {form.title} can only "
                f"say {' or '.join(fine)}: {_WHY[what]}. Measure a run with {instead}={fine[0]} "
                "and export that, or keep format=native."
            )
    if direction.layers[0] < form.first_layer:
        raise CalibError(
            f"format={name}: the direction edits layer {direction.layers[0]}, and {form.title} "
            f"begins at layer {form.first_layer}: its reader refuses the whole file otherwise. "
            "Choose a later layer with layers=[N]."
        )
    if not math.isfinite(direction.strength):
        raise CalibError(f"strength: {direction.strength} is not a finite number.")
    if direction.operator == "ablate" and direction.strength != 1:
        raise CalibError(
            f"format={name}: the direction removes {direction.strength:g} of the component, and "
            f"{form.title} can only remove all of it. Give strength=1, or keep format=native."
        )
    return direction


_WHY = {
    "operator": "its reader would add the vector, or do nothing like what was measured",
    "site": "its reader edits the output of a decoder block",
    "positions": "its reader edits every token, of the prompt, the picture and the response",
}


def _meant(direction: Direction) -> Sequence[int]:
    """The layers of an edit, where the direction says which: all of a file are applied at once."""
    if direction.chosen_layer is not None:
        return [direction.chosen_layer]
    if len(direction.layers) == 1:
        return direction.layers
    raise CalibError(
        f"the direction has layers {direction.layers}, each a setting of its own, and the other "
        "program would add all of them at once. Choose one with layers=[N]; layers=[N,M] adds "
        "several together, as method.all_layers_at_once=true does, and layers=all all of them."
    )


def _only(layers: Sequence[int]) -> int | None:
    return layers[0] if len(layers) == 1 else None
