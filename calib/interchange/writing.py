"""Write a direction in a format of others, and say how it is used there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.directions.direction import Direction
from calib.errors import CalibError
from calib.files import write_atomically
from calib.interchange.baked import bake
from calib.interchange.control_vector import control_vector
from calib.interchange.formats import FORMATS, expressible
from calib.interchange.lm_eval import steering_file
from calib.interchange.usage import (
    baked_note,
    baked_usage,
    control_vector_usage,
    lm_eval_usage,
)
from calib.vlm.load import VLM


@dataclass(frozen=True)
class Written:
    """What was written."""

    direction: Direction
    """What of the direction is in it: the edited layers and the strength."""
    use: str
    """How the other program uses it: lines of a shell or of Python."""
    fits: str = "The file fits this checkpoint only; its reader does not check that."
    note: str = ""
    """What its card has to say besides."""


def write_as(
    direction: Direction,
    name: str,
    out: Path,
    load_model: Callable[[], VLM],
    layers: object = None,
    strength: float | None = None,
) -> Written:
    """Write ``direction`` as format ``name`` (one of FORMATS) to a file, or a folder.

    ``load_model`` is called only for formats that are made for the modules of one model.

    Raises CalibError when the format cannot say what the direction does, when the model is not the
    one it was fitted on, or when the result cannot be written. Nothing is left there then.
    """
    suffix = FORMATS[name].suffix
    if out.suffix != suffix and suffix:
        raise CalibError(f"out={out} should be a file that ends in {suffix}.")
    said = expressible(direction, name, layers, strength)
    if not FORMATS[name].needs_model:
        write_atomically(out, control_vector(said, name))
        return Written(said, control_vector_usage(said, name, str(out)))
    vlm = load_model()
    _require_match(said, vlm, name)
    if name == "lm_eval":
        write_atomically(out, steering_file(said, vlm.model))
        return Written(said, lm_eval_usage(vlm, str(out)))
    baked = bake(vlm, said, out)
    fits = "The edit is in the weights: whatever loads the checkpoint steers."
    return Written(said, baked_usage(str(out)), fits, baked_note(vlm, said, baked))


def _require_match(direction: Direction, vlm: VLM, name: str) -> None:
    if direction.fingerprint != vlm.fingerprint:
        raise CalibError(
            f"format={name}: the direction was read from {direction.checkpoint} "
            f"({direction.fingerprint}), and this is {vlm.checkpoint} ({vlm.fingerprint}). Give "
            "the model as it was then: model.checkpoint, model.dtype, model.attention, model.tiles."
        )
