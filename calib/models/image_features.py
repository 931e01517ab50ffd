"""Encode each image with the vision tower once, and cache the features."""

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from calib.data.example import Example
from calib.models.load import VLM
from calib.util.errors import CalibError

IMAGES_PER_CALL = 16
"""Largest number of entries of ``pixel_values`` in one pass of the tower."""

ONE_PICTURE = (
    "For a model that takes one picture per query, keep the first one (in pairs: remove the "
    "columns image2, ...; for MMMU: utility.several_pictures=false), or use another model."
)

ProcessorOutput = dict[str, torch.Tensor]
"""A processor's output for one conversation: tensors with a batch axis of size 1, or with one entry
per image."""


def image_features(
    vlm: VLM,
    images: Sequence[Sequence[Image.Image]],
    processed: Sequence[ProcessorOutput],
    process_image: Callable[[VLM, Image.Image], ProcessorOutput],
) -> list[tuple[Any, ...]]:
    """Features of each prompt's images, from the cache or from the vision tower.

    ``images`` and ``processed`` are each prompt's images and processor output; ``process_image``
    processes one image alone. An image's features do not depend on the other images of the same
    pass (bit-identical in float32 on a CPU), so rows are repeatable whatever else a run contains.
    """
    taken = inspect.signature(vlm.model.base_model.get_image_features).parameters.keys()
    names: list[list[str]] = []
    pixels: dict[str, ProcessorOutput] = {}
    for prompt_images, output in zip(images, processed, strict=True):
        # LLaVA-OneVision tiles an image only if it is the prompt's only one: its images stay
        # together.
        together = len(prompt_images) == 1 or "batch_num_images" in output
        units = [[image] for image in prompt_images]
        if together and prompt_images:
            units = [list(prompt_images)]
        unit_names = [_hash(unit) for unit in units]
        for name, unit in zip(unit_names, units, strict=True):
            if name not in pixels and name not in vlm.feature_cache:
                inputs = output if together else process_image(vlm, unit[0])
                pixels[name] = {key: inputs[key] for key in inputs if key in taken}
        names.append(unit_names)
    # Referenced here too, because the cache may be too small for all of them.
    cache = vlm.feature_cache
    features = {n: cache.get(n) for unit_names in names for n in unit_names if n not in pixels}
    for batch in _batches(pixels):
        for name, encoded in zip(batch, _encode(vlm, [pixels[n] for n in batch]), strict=True):
            features[name] = cache.put(name, encoded)
    return [tuple(features[name] for name in unit_names) for unit_names in names]


def require_all_pictures(
    checkpoint: str, example: Example, tokens: int, features: Sequence[dict[str, Any]]
) -> None:
    """Raise CalibError (unsupported) unless each picture of ``example`` is in its prompt.

    A chat template may take the first picture of a message and drop the others. ``tokens`` is the
    number of image tokens of the prompt, ``features`` the tower's output, if it is known.
    """
    pictures = len(example.pictures) + sum(len(turn.pictures) for turn in example.demonstrations)
    if pictures < 2:
        return
    # Pooled: [images, tokens, width], or [tokens, width] of each image.
    encoded = sum(math.prod(part.shape[:-1]) for of in features for part in of["pooler_output"])
    if tokens < pictures or (features and tokens != encoded):
        raise CalibError(
            "unsupported",
            f"example '{example.id}' shows {pictures} pictures, and the prompt of {checkpoint} "
            f"has {tokens} image tokens for {encoded or pictures}: its chat template or processor "
            f"does not take all of them. {ONE_PICTURE}",
        )


def _hash(images: Sequence[Image.Image]) -> str:
    digest = hashlib.sha256()
    for image in images:
        digest.update(repr((image.mode, image.size)).encode() + image.tobytes())
    return digest.hexdigest()


def _batches(pixels: dict[str, ProcessorOutput]) -> list[list[str]]:
    """Names of images that can pass the tower together: pixels of one shape and nothing else."""
    batches: list[list[str]] = []
    open_batches: dict[tuple[int, ...], list[str]] = {}
    for name, inputs in pixels.items():
        shape = tuple(inputs["pixel_values"].shape)
        if inputs.keys() != {"pixel_values"} or len(shape) != 4:
            batches.append([name])
            continue
        batch = open_batches.get(shape)
        if batch is None or (len(batch) + 1) * shape[0] > IMAGES_PER_CALL:
            batch = open_batches[shape] = []
            batches.append(batch)
        batch.append(name)
    return batches


def _encode(vlm: VLM, pixels: Sequence[ProcessorOutput]) -> list[dict[str, Any]]:
    """The tower's output for each image, in the form that the forward pass takes."""
    joined = {key: torch.cat([inputs[key] for inputs in pixels]) for key in pixels[0]}
    output = vlm.model.base_model.get_image_features(**joined, return_dict=True)
    pooled = output.pooler_output
    if len(pixels) == 1:
        features = {"pooler_output": pooled}
        if getattr(output, "deepstack_features", None) is not None:
            features["deepstack_features"] = output.deepstack_features
        return [features]
    entries = len(pixels[0]["pixel_values"])
    if isinstance(pooled, torch.Tensor):
        return [{"pooler_output": part} for part in pooled.split(entries)]
    starts = range(0, len(pooled), entries)
    return [{"pooler_output": list(pooled[k : k + entries])} for k in starts]
