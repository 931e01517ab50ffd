"""What the playground's controls offer for a served model: layers, strengths, a command."""

import math
import shlex
from collections.abc import Sequence
from typing import Any

from calib.config.named_model import model_name
from calib.interventions.intervention import Method
from calib.serving.served_model import ServedModel

STEPS = 40
"""Number of steps of the strength's slider on each side of 0, at least."""
ROW = 5
"""Number of strengths that a row has at first, besides 0."""
_NOT_SERVED = (
    "pick",
    "layer",
    "strength",
    "port",
    "host",
    "hosts",
    "key_env",
    "no_key",
    "playground",
)
"""Settings of the command that the page leaves out: it adds its own layer and strength, and the
others concern this server only."""


def controls(served: ServedModel) -> dict[str, Any]:
    """The controls as a JSON object; without ``method`` where none is served."""
    fields = {
        "model": served.name,
        "uncalibrated": served.names[-1],
        "checkpoint": model_name(served.vlm.checkpoint),
        "verdict": served.verdict,
        "method": None,
    }
    method = served.method
    if method is None:
        return fields
    direction = method.direction
    projected = direction is not None and direction.site == "residual"
    return fields | {
        "method": method.name,
        "meaning": method.axis.meaning,
        "layers": [layer for layer in method.layers if layer is not None],
        "layer": served.layer,
        "strength": served.strength,
        "stops": _stops(served, method),
        "slider": slider(served, method),
        "row": row(served, method),
        "projected_layers": direction.layers if projected and direction else [],
        "contrast": direction.contrast if direction else "",
    }


def _stops(served: ServedModel, method: Method) -> list[dict[str, Any]]:
    """The strengths of a method whose strength is a count or a variant, with their names."""
    if not method.axis.integer:
        return []
    strengths = sorted({0.0, *served.strengths, served.strength})
    return [
        {"strength": strength, "name": method.variants.get(int(strength), f"{strength:g}")}
        for strength in strengths
    ]


def slider(served: ServedModel, method: Method) -> dict[str, float]:
    """The range of the strength's slider: twice the strengths in use, in steps of 1, 2 or 5."""
    used = [abs(strength) for strength in (served.strength, *served.strengths)]
    most = 2 * (max(used, default=0) or method.axis.default_scale)
    power = 10 ** math.floor(math.log10(most / STEPS))
    step = next(size * power for size in (5, 2, 1) if size * power <= most / STEPS)
    most = math.ceil(most / step - 1e-9) * step
    return {"least": -most if method.axis.signed else 0.0, "most": most, "step": step}


def row(served: ServedModel, method: Method) -> list[float]:
    """Strengths to answer at once: those in use, or evenly spaced ones."""
    if method.axis.integer:
        return sorted({0.0, *served.strengths})
    used = sorted({0.0, served.strength, *served.strengths})
    if len(used) > ROW:
        return [used[round(k * (len(used) - 1) / ROW)] for k in range(ROW + 1)]
    if len(used) > 2:
        return used
    scale = max(map(abs, used)) or method.axis.default_scale
    low = -1 if method.axis.signed else 0
    return [float(f"{scale * (low + (1 - low) * k / 4):.3g}") for k in range(5)]


def command(arguments: Sequence[str]) -> str:
    """The command that serves the same run or method, without pick, layer and strength."""
    kept = [
        argument
        for argument in arguments
        if argument.lstrip("+").partition("=")[0] not in _NOT_SERVED
    ]
    return shlex.join(["python", "-m", "calib.serve", *kept])
