"""Run images through the vision tower once each, and cache the features."""

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import psutil
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
            if name not in pixels and name not in vlm.pictures:
                pixels[name] = _wanted(vlm, one if together else alone(vlm, unit[0]))
        wanted.append(names)
    # Held here too: the store may be too small for all of them.
    features = {n: vlm.pictures.get(n) for names in wanted for n in names if n not in pixels}
    for batch in _batches(pixels):
        for name, encoded in zip(batch, _encode(vlm, [pixels[n] for n in batch]), strict=True):
            features[name] = vlm.pictures.put(name, encoded)
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


class FeatureCache:
    """Features by picture, in the machine's memory whatever device the model is on."""

    def __init__(self, limit: int | None = None) -> None:
        """At most ``limit`` bytes, an eighth of the memory by default, are kept; what was used
        longest ago goes first."""
        self.limit = psutil.virtual_memory().total // 8 if limit is None else limit
        self.passes = 0
        """How often a picture went through the vision tower."""
        self.again = 0
        """How often it was not for the first time."""
        self._seen: set[str] = set()
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def get(self, name: str) -> Any:
        """The features of a picture that is kept."""
        self._kept.move_to_end(name)
        return self._kept[name][0]

    def put(self, name: str, features: Any) -> Any:
        """Keep the features of a picture that has just passed the tower; returns what is kept."""
        found = _on_cpu(features)
        self.passes += 1
        self.again += name in self._seen
        self._seen.add(name)
        size = _size(found)
        self._kept[name] = (found, size)
        self._bytes += size
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return found


def _on_cpu(features: Any) -> Any:
    if isinstance(features, torch.Tensor):
        # A copy: a part of a batch would keep all of it in memory.
        return features.detach().to("cpu", copy=True)
    if isinstance(features, dict):
        return {key: _on_cpu(value) for key, value in features.items()}
    return [_on_cpu(part) for part in features]


def _size(features: Any) -> int:
    if isinstance(features, torch.Tensor):
        return features.numel() * features.element_size()
    if isinstance(features, dict):
        return sum(map(_size, features.values()))
    return sum(map(_size, features))
