"""Run images through the vision tower once each, and cache the features."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from calib.models.load import VLM

IMAGES_PER_CALL = 16
"""Entries of pixels that pass the tower at once."""

ProcessorOutput = dict[str, torch.Tensor]


def image_features(
    vlm: VLM,
    shown: Sequence[Sequence[Image.Image]],
    found: Sequence[ProcessorOutput],
    alone: Callable[[VLM, Image.Image], ProcessorOutput],
) -> list[tuple[Any, ...]]:
    """The features of each prompt's pictures, from the store or from the vision tower.

    ``found`` is what the processor made of each prompt, ``alone`` has it make it of one picture. A
    picture's features do not depend on the others that pass the tower with it (in float32 on a CPU
    to the bit), so rows are repeatable whatever else a run contains.
    """
    wanted: list[list[str]] = []
    pixels: dict[str, ProcessorOutput] = {}
    for pictures, one in zip(shown, found, strict=True):
        # LLaVA-OneVision cuts a picture into tiles only where it is the only one.
        together = len(pictures) == 1 or "batch_num_images" in one
        units = [list(pictures)] if together and pictures else [[p] for p in pictures]
        names = [_name(unit) for unit in units]
        for name, unit in zip(names, units, strict=True):
            if name not in pixels and name not in vlm.feature_cache:
                pixels[name] = _wanted(vlm, one if together else alone(vlm, unit[0]))
        wanted.append(names)
    # Held here too: the store may be too small for all of them.
    features = {n: vlm.feature_cache.get(n) for names in wanted for n in names if n not in pixels}
    for batch in _batches(pixels):
        for name, encoded in zip(batch, _encode(vlm, [pixels[n] for n in batch]), strict=True):
            features[name] = vlm.feature_cache.put(name, encoded)
    return [tuple(features[name] for name in names) for names in wanted]


def _name(pictures: Sequence[Image.Image]) -> str:
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(repr((picture.mode, picture.size)).encode() + picture.tobytes())
    return digest.hexdigest()


def _wanted(vlm: VLM, found: ProcessorOutput) -> ProcessorOutput:
    """What the vision tower asks for."""
    names = inspect.signature(vlm.model.base_model.get_image_features).parameters
    return {key: value for key, value in found.items() if key in names}


def _batches(pixels: dict[str, ProcessorOutput]) -> list[list[str]]:
    """Names that pass the tower together: nothing but pixels, of one shape."""
    batches: list[list[str]] = []
    open_batches: dict[tuple[int, ...], list[str]] = {}
    for name, one in pixels.items():
        shape = tuple(one["pixel_values"].shape)
        if one.keys() != {"pixel_values"} or len(shape) != 4:
            batches.append([name])
            continue
        batch = open_batches.get(shape)
        if batch is None or (len(batch) + 1) * shape[0] > IMAGES_PER_CALL:
            batch = open_batches[shape] = []
            batches.append(batch)
        batch.append(name)
    return batches


def _encode(vlm: VLM, pixels: Sequence[ProcessorOutput]) -> list[dict[str, Any]]:
    """The tower's output for each of some pictures, as the forward pass takes it."""
    joined = {key: torch.cat([one[key] for one in pixels]) for key in pixels[0]}
    output = vlm.model.base_model.get_image_features(**joined, return_dict=True)
    pooled = output.pooler_output
    if len(pixels) == 1:
        found = {"pooler_output": pooled}
        if getattr(output, "deepstack_features", None) is not None:
            found["deepstack_features"] = output.deepstack_features
        return [found]
    entries = len(pixels[0]["pixel_values"])
    if isinstance(pooled, torch.Tensor):
        return [{"pooler_output": part} for part in pooled.split(entries)]
    starts = range(0, len(pooled), entries)
    return [{"pooler_output": list(pooled[k : k + entries])} for k in starts]
