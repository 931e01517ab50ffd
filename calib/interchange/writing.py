"""Write a direction in a third-party format, and explain how to use it there."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from calib.config.named_model import model_name
from calib.config.quoting import shell_override
from calib.directions.direction import Direction
from calib.directions.fit import require_match
from calib.interchange.formats import FORMATS, require_expressible
from calib.interchange.gguf import control_vector
from calib.interchange.lm_eval import loads_by_name, steering_file
from calib.interchange.merge_into_weights import MergedCheckpoint, merge_into_weights
from calib.models.checkpoints.own_tower import has_own_tower
from calib.models.load import VLM, source_of
from calib.util.errors import CalibError
from calib.util.files import write_atomically


@dataclass(frozen=True)
class WrittenDirection:
    """A direction written in a third-party format."""

    direction: Direction
    """The written part of the direction: the edited layers and the strength."""
    usage: str
    """Shell or Python lines that use it in the other program."""
    scope: str = "The file fits this checkpoint only; its reader does not check that."
    """Sentence on the models that it can be used with."""
    note: str = ""
    """Sentences for its card."""
    notes: list[str] = field(default_factory=list)
    """Differences between the model and the one that the direction was read from."""


def write_direction_as(
    direction: Direction,
    format_name: str,
    out: Path,
    load_model: Callable[[], VLM],
    layers: object = None,
    strength: float | None = None,
) -> WrittenDirection:
    """Write ``direction`` as format ``format_name`` (one of FORMATS) to a file or folder.

    ``load_model`` is called only for formats that refer to the modules of a model. ``layers`` and
    ``strength`` are those of require_expressible.

    Raises CalibError if the format cannot represent the direction, the model is not the one that
    it was fitted on, or the result cannot be written. Nothing is left at ``out`` then.
    """
    suffix = FORMATS[format_name].suffix
    if out.suffix != suffix and suffix:
        raise CalibError("invalid-setting", f"out={out} must end in {suffix}.")
    direction = require_expressible(direction, format_name, layers, strength)
    if not FORMATS[format_name].needs_model:
        write_atomically(out, control_vector(direction, format_name))
        usage = control_vector_usage(direction, format_name, str(out))
        return WrittenDirection(direction, usage)
    vlm = load_model()
    notes = require_match(direction, vlm, "")
    if format_name == "lm_eval":
        write_atomically(out, steering_file(direction, vlm.model))
        return WrittenDirection(direction, lm_eval_usage(vlm, str(out)), notes=notes)
    merged = merge_into_weights(vlm, direction, out)
    scope = "The edit is in the weights: any program that loads the checkpoint applies it."
    if own_tower := has_own_tower(str(out)):
        scope += " That is calib, or transformers after calib.models.towers.register_towers()."
    note = merged_note(vlm, direction, merged)
    return WrittenDirection(direction, merged_usage(str(out), own_tower), scope, note, notes)


def control_vector_usage(direction: Direction, format_name: str, file: str) -> str:
    """Shell or Python lines that use a ``gguf``, ``repeng`` or ``easysteer`` file."""
    strength = f"{direction.strength:g}"
    own_tower = has_own_tower(direction.checkpoint)
    if format_name == "gguf" and own_tower:
        return (
            f"llama-cli -m MODEL.gguf --control-vector-scaled {shlex.quote(file)} {strength}"
            "   # without pictures: llama.cpp lacks the vision tower"
        )
    if format_name == "gguf":
        quoted = shlex.quote(file)
        scaled = shlex.quote(f"{file}:{strength}")
        return (
            f"llama-mtmd-cli -m MODEL.gguf --mmproj MMPROJ.gguf --control-vector-scaled {scaled}\n"
            f"llama-cli -m MODEL.gguf --control-vector-scaled {quoted} {strength}"
            "   # builds without the FILE:SCALE form"
        )
    if format_name == "repeng":
        return (
            f"{_REGISTERED if own_tower else ''}"
            f"vector = repeng.ControlVector.import_gguf({file!r})\n"
            f"model = repeng.ControlModel(model, layer_ids={direction.layers})\n"
            f"model.set_control(vector, {strength})"
        )
    return (
        f"{_TEXT_ONLY if own_tower else ''}"
        f"request = SteerVectorRequest('calib', 1, steer_vector_local_path={file!r},\n"
        f"    scale={strength}, target_layers={direction.layers}, normalize=False,\n"
        "    prefill_trigger_tokens=[-1], generate_trigger_tokens=[-1])   # -1: every token"
    )


_REGISTERED = "calib.models.towers.register_towers()   # before the model is loaded\n"
"""A line of Python for a model whose vision tower transformers lacks."""
_TEXT_ONLY = "# Without pictures: EasySteer lacks the vision tower.\n"


def lm_eval_usage(vlm: VLM, file: str) -> str:
    """A command line if lm-eval can load the checkpoint by name, else Python lines."""
    checkpoint = source_of(vlm.checkpoint)
    if loads_by_name(vlm.model):
        arguments = shlex.quote(f"pretrained={checkpoint},steer_path={file}")
        return f"lm-eval --model steered --model_args {arguments} --tasks TASKS"
    return (
        "# lm-eval's command line loads text models only, so pass this model in Python.\n"
        f"{_REGISTERED if has_own_tower(checkpoint) else ''}"
        f"model = AutoModelForImageTextToText.from_pretrained({checkpoint!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({checkpoint!r})\n"
        f"lm = SteeredModel(model, {file!r}, tokenizer=tokenizer)   # lm_eval.models.hf_steered\n"
        "lm_eval.simple_evaluate(lm, tasks=[...])"
    )


def merged_usage(folder: str, own_tower: bool = False) -> str:
    """Commands that serve or evaluate a merged checkpoint, as any other checkpoint; with
    ``own_tower``, one that only calib can serve."""
    checkpoint = shell_override("model.checkpoint", folder)
    serve = f"vllm serve {shlex.quote(folder)}"
    if own_tower:
        serve = f"python -m calib.serve method=none {checkpoint}"
    return f"{serve}\npython -m calib.sweep method=none {checkpoint}"


def merged_note(vlm: VLM, direction: Direction, merged: MergedCheckpoint) -> str:
    """Changes to the weights and the result of the comparison, for the card."""
    layers = ", ".join(map(str, direction.layers))
    stored = (
        ""
        if merged.decoder == "llama"
        else f" Its {merged.decoder} decoder is stored as the equivalent Llama decoder, with zeros "
        "for the biases that it lacked."
    )
    return (
        f"Made by calib from {model_name(vlm.checkpoint)}: the direction times strength "
        f"{direction.strength:g} was added to the bias of `mlp.down_proj` in decoder block "
        f"{layers}; `mlp_bias` is true in its config, and every other new bias is zero.{stored} No "
        f"other weight changed. After loading, its logits on a short prompt differ from those of "
        f"the steered original by at most {merged.difference:.2g}; steering changes them by "
        f"{merged.effect:.2g}."
    )
