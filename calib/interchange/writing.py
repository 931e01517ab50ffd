"""Write a direction in a third-party format, and explain how to use it there."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calib.directions.direction import Direction
from calib.interchange.formats import FORMATS, expressible
from calib.interchange.gguf import control_vector
from calib.interchange.lm_eval import loaded_by_name, steering_file
from calib.interchange.merge_into_weights import Baked, bake
from calib.models.load import MINI, VLM, mini_folder
from calib.util.errors import CalibError
from calib.util.files import write_atomically


def control_vector_usage(direction: Direction, name: str, file: str) -> str:
    """Lines of a shell or of Python, for one of ``gguf``, ``repeng``, ``easysteer``."""
    strength = f"{direction.strength:g}"
    if name == "gguf":
        quoted = shlex.quote(file)
        scaled = shlex.quote(f"{file}:{strength}")
        return (
            f"llama-mtmd-cli -m MODEL.gguf --mmproj MMPROJ.gguf --control-vector-scaled {scaled}\n"
            f"llama-cli -m MODEL.gguf --control-vector-scaled {quoted} {strength}"
            "   # builds before the FILE:SCALE form"
        )
    if name == "repeng":
        return (
            f"vector = repeng.ControlVector.import_gguf({file!r})\n"
            f"model = repeng.ControlModel(model, layer_ids={direction.layers})\n"
            f"model.set_control(vector, {strength})"
        )
    return (
        f"request = SteerVectorRequest('calib', 1, steer_vector_local_path={file!r},\n"
        f"    scale={strength}, target_layers={direction.layers}, normalize=False,\n"
        "    prefill_trigger_tokens=[-1], generate_trigger_tokens=[-1])   # -1: every token"
    )


def lm_eval_usage(vlm: VLM, file: str) -> str:
    """A command where the harness loads such a checkpoint by itself, Python where it does not."""
    checkpoint = str(mini_folder()) if vlm.checkpoint == MINI else vlm.checkpoint
    if loaded_by_name(vlm.model):
        arguments = shlex.quote(f"pretrained={checkpoint},steer_path={file}")
        return f"lm-eval --model steered --model_args {arguments} --tasks TASKS"
    return (
        "# lm-eval's command line loads text models only: hand it this one in Python.\n"
        f"model = AutoModelForImageTextToText.from_pretrained({checkpoint!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({checkpoint!r})\n"
        f"lm = SteeredModel(model, {file!r}, tokenizer=tokenizer)   # lm_eval.models.hf_steered\n"
        "lm_eval.simple_evaluate(lm, tasks=[...])"
    )


def baked_usage(folder: str) -> str:
    """Nothing special: a checkpoint like any other."""
    quoted = shlex.quote(folder)
    return f"vllm serve {quoted}\npython -m calib.sweep method=none model.checkpoint={quoted}"


def baked_note(vlm: VLM, direction: Direction, baked: Baked) -> str:
    """What was done to the weights, for the card."""
    layers = ", ".join(map(str, direction.layers))
    stored = (
        ""
        if baked.decoder == "llama"
        else f" Its {baked.decoder} decoder is stored as the Llama decoder that it equals, with "
        "biases of zero where it had none."
    )
    return (
        f"Made by calib from {vlm.checkpoint}: the bias of `mlp.down_proj` in decoder block "
        f"{layers} was moved by the direction times strength {direction.strength:g}; `mlp_bias` is "
        f"true in its config, and every other new bias is zero.{stored} No other weight changed. "
        f"Loaded again, its logits on a short prompt differ from those of the steered original by "
        f"at most {baked.difference:.2g}; steering moves them by {baked.moved:.2g}."
    )


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
