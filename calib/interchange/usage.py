"""How a written file is used in the program it was written for."""

import shlex

from calib.directions.direction import Direction
from calib.interchange.baked import Baked
from calib.interchange.lm_eval import loaded_by_name
from calib.vlm.load import MINI, VLM, mini_folder


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
