"""Turn a checkpoint in LLaVA-1.5's original format into transformers' own."""

import functools
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import LlavaForConditionalGeneration

from calib.config.model import ModelConfig
from calib.models.load import VLM, load
from calib.models.original_llava import TOWER, converted_name, differences, is_buffer, is_original
from calib.models.shards import Weight, inventory, shards, tensors
from calib.util.errors import CalibError
from calib.util.files import cannot_write, write_atomically

SHOWN = 5
"""Names that an error shows of a long list."""


@dataclass(frozen=True)
class Converted:
    """A model with the weights of a checkpoint, and where they are from."""

    skeleton: VLM
    weights: int
    """How many weights are the checkpoint's."""
    notes: tuple[str, ...]
    """What a reader of the converted checkpoint should know."""


def convert(source: Path, skeleton: str, revision: str | None = None) -> Converted:
    """A model of the skeleton's shape with the weights of ``source``, on the CPU.

    In the type of the checkpoint; one shard is in memory at a time, beside the model.

    Raises CalibError when ``source`` is not in the original format or damaged, has a weight that
    the skeleton has no place for, lacks one, or computes by other settings.
    """
    config = _config(source)
    paths = shards(source)
    have = {name: one for name, one in inventory(paths).items() if not is_buffer(name)}
    if not have:
        raise CalibError(f"'{source}' holds no weights. Get a complete copy.")
    # The narrowest type that holds them all exactly.
    dtype = functools.reduce(torch.promote_types, {one.dtype for one in have.values()})
    named = str(dtype).removeprefix("torch.")
    vlm = load(ModelConfig("skeleton", skeleton, revision, dtype=named, device_map="cpu"))
    model = vlm.model
    if not isinstance(model, LlavaForConditionalGeneration):
        raise CalibError(
            f"skeleton={skeleton} is a {type(model).__name__}, not LLaVA-1.5. Give "
            "llava-hf/llava-1.5-7b-hf, or the size that the checkpoint has."
        )
    if other := differences(config, model.config):
        raise CalibError(
            f"'{source}' computes otherwise than skeleton={skeleton}: {_some(other)}. Give a "
            "skeleton of the same shape (llava-hf/llava-1.5-13b-hf for 13B)."
        )
    places = dict(model.named_parameters())
    if len(places) != len(model.state_dict()):
        raise CalibError(f"skeleton={skeleton} shares weights with itself. Give another one.")
    targets = _targets(source, have, places, model.config.image_token_id)
    changed = _copy(paths, targets, places)
    return Converted(vlm, len(targets), (_tower(targets, changed), *_seen(config, vlm)))


def _config(source: Path) -> dict[str, Any]:
    try:
        config = json.loads((source / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CalibError(f"'{source}' has no readable config.json. Get a complete copy.") from error
    if not isinstance(config, dict) or not is_original(config):
        raise CalibError(
            f"'{source}' is not in LLaVA-1.5's original format, which names an mm_vision_tower in "
            "its config.json. A checkpoint in transformers' own needs no conversion: give it with "
            "model.checkpoint."
        )
    return config


def _targets(
    source: Path, have: dict[str, Weight], places: dict[str, Any], image_token: int
) -> dict[str, str]:
    """The name in the model of every weight of the checkpoint."""
    found = {name: converted_name(name, places) for name in have}
    unexpected = sorted(name for name, target in found.items() if target is None)
    if unexpected:
        raise CalibError(
            f"'{source}' holds {len(unexpected)} weights that the skeleton has no place for: "
            f"{_some(unexpected)}. It is another architecture or size, or an adapter."
        )
    targets = {name: target for name, target in found.items() if target is not None}
    covered = set(targets.values())
    towerless = not any(target.startswith(TOWER) for target in covered)
    missing = [n for n in places if n not in covered and not (towerless and n.startswith(TOWER))]
    if missing:
        raise CalibError(
            f"'{source}' lacks {len(missing)} weights: {_some(missing)}. Get a complete copy; a "
            "LoRA adapter must be merged into its model first."
        )
    for name, target in targets.items():
        given, wanted = have[name].shape, tuple(places[target].shape)
        # The skeleton's vocabulary has rows for the picture and padding tokens behind it.
        fits = _is_vocabulary(target) and given[0] <= min(image_token, wanted[0])
        if given != wanted and not (fits and given[1:] == wanted[1:]):
            raise CalibError(
                f"'{source}': {name} is {list(given)}, and the skeleton has {list(wanted)}. Give a "
                "skeleton of the same size."
            )
    return targets


def _is_vocabulary(target: str) -> bool:
    return target == "lm_head.weight" or target.endswith(".embed_tokens.weight")


@torch.no_grad()
def _copy(paths: list[Path], targets: dict[str, str], places: dict[str, Any]) -> Counter[str]:
    """Put the checkpoint's weights into the model; by part, how many differ from the skeleton's."""
    changed: Counter[str] = Counter()
    for path in paths:
        for name, tensor in tensors(path):
            if is_buffer(name):
                continue
            if not torch.isfinite(tensor).all():
                raise CalibError(f"'{path}': {name} holds numbers that are not finite.")
            place = places[targets[name]].data[: len(tensor)]
            same = torch.equal(place, tensor.to(place.dtype))
            changed["tower" if targets[name].startswith(TOWER) else "rest"] += not same
            place.copy_(tensor)
    return changed


def _tower(targets: dict[str, str], changed: Counter[str]) -> str:
    given = sum(target.startswith(TOWER) for target in targets.values())
    if not given:
        return "the checkpoint has no vision tower (LLaVA leaves it frozen); it is the skeleton's"
    if not changed["tower"]:
        return "the checkpoint's vision tower is the skeleton's"
    return (
        f"{changed['tower']} of {given} weights of the checkpoint's vision tower differ from the "
        "skeleton's; the checkpoint's are kept"
    )


def _seen(config: dict[str, Any], vlm: VLM) -> list[str]:
    pads = getattr(vlm.processor.image_processor, "do_pad", False)
    if config.get("image_aspect_ratio") == "pad" and not pads:
        return [
            "the original code pads pictures to squares where the skeleton's processor crops them: "
            "answers to pictures that are not square may differ"
        ]
    return []


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def write(converted: Converted, out: Path, note: str) -> None:
    """Write the model, its processor and a README.md into a new folder, whole or not at all.

    Raises CalibError when there is something already, or it cannot be written.
    """
    require_free(out)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir(parents=True)
        converted.skeleton.model.save_pretrained(unfinished)
        converted.skeleton.processor.save_pretrained(unfinished)
        write_atomically(unfinished / "README.md", note)
        unfinished.rename(out)
    except SafetensorError as error:
        raise cannot_write(out, OSError(str(error))) from error
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_free(out: Path) -> None:
    """Raise CalibError when there is something at ``out``."""
    if out.exists():
        raise CalibError(f"out={out} is already there and is not overwritten. Give another folder.")
