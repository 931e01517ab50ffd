"""Convert a checkpoint in the original LLaVA-1.5 format to transformers format."""

import functools
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import LlavaForConditionalGeneration

from calib.config.model import ModelConfig
from calib.models.checkpoints.original_llava import (
    TOWER,
    converted_name,
    differences,
    is_buffer,
    is_original,
)
from calib.models.checkpoints.weight_files import Weight, inventory, tensors, weight_files
from calib.models.load import VLM, load
from calib.util.errors import CalibError
from calib.util.files import cannot_write, unfinished_path, write_atomically
from calib.util.listing import shortened
from calib.util.reading import file_bytes, parse_json

LISTED = 5
"""Largest number of weight names that an error message lists."""


@dataclass(frozen=True)
class Converted:
    """A model with a checkpoint's weights."""

    vlm: VLM
    num_weights: int
    """Number of weights that came from the checkpoint; the rest are the skeleton's."""
    notes: tuple[str, ...]
    """Caveats for users of the converted checkpoint."""


def convert(source: Path, skeleton: str, revision: str | None = None) -> Converted:
    """Load ``skeleton`` on the CPU and replace its weights by those of the folder ``source``.

    The model has the checkpoint's type. Besides the model, one file of weights at a time is in
    memory.

    Raises CalibError if ``source`` is not in the original format or is damaged, if its weights and
    the skeleton's do not match one to one, or if the two differ in a setting that changes the
    computation.
    """
    config = _config(source)
    paths = weight_files(source)
    weights = {name: w for name, w in inventory(paths).items() if not is_buffer(name)}
    if not weights:
        raise CalibError("invalid-content", f"'{source}' contains no weights. Get a complete copy.")
    # The narrowest type that represents all of them exactly.
    dtype = functools.reduce(torch.promote_types, {weight.dtype for weight in weights.values()})
    dtype_name = str(dtype).removeprefix("torch.")
    vlm = load(ModelConfig("skeleton", skeleton, revision, dtype=dtype_name, device_map="cpu"))
    model = vlm.model
    if not isinstance(model, LlavaForConditionalGeneration):
        raise CalibError(
            "unsupported",
            f"skeleton={skeleton} is a {type(model).__name__}, not LLaVA-1.5. Give "
            "llava-hf/llava-1.5-7b-hf, or the LLaVA-1.5 of the checkpoint's size.",
        )
    if differing := differences(config, model.config):
        raise CalibError(
            "mismatch",
            f"The settings of '{source}' differ from those of skeleton={skeleton}: "
            f"{_listed(differing)}. Give a skeleton of the same shape "
            "(llava-hf/llava-1.5-13b-hf for 13B).",
        )
    parameters = dict(model.named_parameters())
    if len(parameters) != len(model.state_dict()):
        raise CalibError(
            "unsupported",
            f"skeleton={skeleton} ties some of its weights together. Give another skeleton.",
        )
    targets = _targets(source, weights, parameters, model.config.image_token_id)
    changed = _copy(paths, targets, parameters)
    return Converted(vlm, len(targets), (_tower_note(targets, changed), *_padding(config, vlm)))


def _config(source: Path) -> dict[str, Any]:
    try:
        config = parse_json(file_bytes(source / "config.json"))
    except (OSError, ValueError) as error:
        raise CalibError(
            "unreadable", f"'{source}' has no readable config.json. Get a complete copy."
        ) from error
    if not isinstance(config, dict) or not is_original(config):
        raise CalibError(
            "unsupported",
            f"'{source}' is not in the original LLaVA-1.5 format, whose config.json names an "
            "mm_vision_tower. A checkpoint in transformers format needs no conversion: use it with "
            "model.checkpoint.",
        )
    return config


def _targets(
    source: Path, weights: dict[str, Weight], parameters: dict[str, Any], image_token: int
) -> dict[str, str]:
    """The checkpoint's weight names and the names of the model's parameters they go to."""
    converted = {name: converted_name(name, parameters) for name in weights}
    unexpected = sorted(name for name, target in converted.items() if target is None)
    if unexpected:
        raise CalibError(
            "mismatch",
            f"'{source}' has {len(unexpected)} weights that the skeleton lacks: "
            f"{_listed(unexpected)}. It is another architecture or size, or an adapter.",
        )
    targets = {name: target for name, target in converted.items() if target is not None}
    covered = set(targets.values())
    has_tower = any(target.startswith(TOWER) for target in covered)
    missing = [
        name
        for name in parameters
        if name not in covered and (has_tower or not name.startswith(TOWER))
    ]
    if missing:
        raise CalibError(
            "mismatch",
            f"'{source}' lacks {len(missing)} weights: {_listed(missing)}. Get a complete copy; "
            "merge a LoRA adapter into its model first.",
        )
    for name, target in targets.items():
        shape, expected = weights[name].shape, tuple(parameters[target].shape)
        # The skeleton's vocabulary has additional rows for the image and padding tokens.
        fits = _is_vocabulary(target) and shape[0] <= min(image_token, expected[0])
        if shape != expected and not (fits and shape[1:] == expected[1:]):
            raise CalibError(
                "mismatch",
                f"'{source}': {name} is {list(shape)}, but the skeleton's is {list(expected)}. "
                "Give a skeleton of the same size.",
            )
    return targets


def _is_vocabulary(target: str) -> bool:
    return target == "lm_head.weight" or target.endswith(".embed_tokens.weight")


@torch.no_grad()
def _copy(paths: list[Path], targets: dict[str, str], parameters: dict[str, Any]) -> Counter[str]:
    """Copy the checkpoint's weights into the model.

    Returns how many of the "tower" and of the "rest" differ from the skeleton's.
    """
    changed: Counter[str] = Counter()
    for path in paths:
        for name, tensor in tensors(path):
            if is_buffer(name):
                continue
            if not torch.isfinite(tensor).all():
                raise CalibError(
                    "not-finite", f"'{path}': {name} contains values that are not finite."
                )
            weight = parameters[targets[name]].data[: len(tensor)]
            same = torch.equal(weight, tensor.to(weight.dtype))
            changed["tower" if targets[name].startswith(TOWER) else "rest"] += not same
            weight.copy_(tensor)
    return changed


def _tower_note(targets: dict[str, str], changed: Counter[str]) -> str:
    count = sum(target.startswith(TOWER) for target in targets.values())
    if not count:
        return (
            "the checkpoint contains no vision tower (LLaVA freezes it), so the skeleton's is used"
        )
    if not changed["tower"]:
        return "the checkpoint's vision tower equals the skeleton's"
    return (
        f"{changed['tower']} of {count} weights of the checkpoint's vision tower differ from the "
        "skeleton's; the checkpoint's are used"
    )


def _padding(config: dict[str, Any], vlm: VLM) -> list[str]:
    pads = getattr(vlm.processor.image_processor, "do_pad", False)
    if config.get("image_aspect_ratio") == "pad" and not pads:
        return [
            "the original code pads images to squares, while the skeleton's processor crops them: "
            "responses to images that are not square may differ"
        ]
    return []


def _listed(names: list[str]) -> str:
    return ", ".join(shortened(names, LISTED))


def write_checkpoint(converted: Converted, out: Path, readme: str) -> None:
    """Write the model, its processor and a README.md to a new folder, completely or not at all.

    Raises CalibError if ``out`` exists or cannot be written.
    """
    require_absent(out)
    unfinished = None
    try:
        unfinished = unfinished_path(out)
        unfinished.mkdir()
        converted.vlm.model.save_pretrained(unfinished)
        converted.vlm.processor.save_pretrained(unfinished)
        write_atomically(unfinished / "README.md", readme)
        unfinished.rename(out)
    except SafetensorError as error:
        raise cannot_write(out, OSError(str(error))) from error
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)


def require_absent(out: Path) -> None:
    """Raise CalibError if ``out`` exists."""
    if out.exists():
        raise CalibError(
            "already-exists", f"out={out} exists and is not overwritten. Give another folder."
        )
