"""Files of directions that others write: each to one vector per layer, in calib's numbering.

A layer is the 0-based decoder block whose output the vector was read from. Nothing here runs code
of a file: pickles are read by torch's restricted loader, and refused where that is not enough.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from calib.interchange.gguf import read_control_vector
from calib.interchange.vectors import LARGEST, as_vector, bytes_of
from calib.util.errors import CalibError

METADATA = "direction_metadata.json"
_LAYER_KEY = re.compile(r"(?:layer(0|[1-9]\d{0,5})\.v|layer_(0|[1-9]\d{0,5}))", re.ASCII)


@dataclass(frozen=True)
class ImportedVectors:
    """What a file of others holds."""

    vectors: dict[int, torch.Tensor]
    """By layer. # [width] float32"""
    note: str
    """How its numbers became layers."""


def read_gguf_vectors(path: Path, layers: list[int] | None) -> ImportedVectors:
    """A control vector of llama.cpp, repeng or EasySteer: direction.N is added after block N."""
    _no_layers(path, layers)
    return ImportedVectors(read_control_vector(path), "direction.N is the output of block N")


def read_refusal_direction(path: Path, layers: list[int] | None) -> ImportedVectors:
    """``direction.pt`` of refusal_direction with ``direction_metadata.json`` beside it.

    Its layer counts block inputs: the input of block N is the output of block N - 1.
    """
    _no_layers(path, layers)
    vector = as_vector(_unpickled(path), f"'{path}'")
    metadata = _json(path.with_name(METADATA))
    layer = metadata.get("layer") if isinstance(metadata, dict) else None
    if type(layer) is not int or layer < 0:
        raise CalibError(f"'{path.with_name(METADATA)}' names no layer: {layer!r}.")
    if layer == 0:
        raise CalibError(
            f"'{path}' was read at the input of block 0, the embeddings, and calib's layers are "
            "outputs of blocks: there is none before the first."
        )
    return ImportedVectors(
        {layer - 1: vector},
        f"its layer {layer} is the input of that block, so the output of block {layer - 1}",
    )


def read_svec(path: Path, layers: list[int] | None) -> ImportedVectors:
    """JSON of IBM's activation-steering (one vector per layer) or of AISteer360 (a list of them,
    of which calib takes one)."""
    _no_layers(path, layers)
    content = _json(path)
    directions = content.get("directions") if isinstance(content, dict) else None
    if not isinstance(directions, dict):
        raise CalibError(f"'{path}' has no 'directions': it is no .svec file.")
    if content.get("num_heads") is not None or content.get("head_dim") is not None:
        raise CalibError(
            f"'{path}' holds directions of attention heads, and calib takes those of the residual "
            "stream only."
        )
    found = {}
    for key, value in directions.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,5}", key):
            raise CalibError(f"'{path}' names a layer '{key}'.")
        found[int(key)] = _numbers(value, f"'{path}', layer {key}")
    return ImportedVectors(
        found,
        "each is the output of the block it was read from; activation-steering itself adds it at "
        "that block's input, which is one layer lower: give shift=-1 to do as it does",
    )


def read_tensors(path: Path, layers: list[int] | None) -> ImportedVectors:
    """safetensors with keys ``layerN.v`` or ``layer_N``, or one tensor of [layers, width] whose
    rows are ``layers``."""
    try:
        tensors = load(bytes_of(path))
    except SafetensorError as error:
        raise CalibError(f"'{path}' is not a readable safetensors file: {error}") from error
    numbers = {name: _LAYER_KEY.fullmatch(name) for name in tensors}
    if tensors and all(numbers.values()):
        _no_layers(path, layers)
        named = [(int(n[1] or n[2]), name) for name, n in numbers.items() if n]
        if len({number for number, _ in named}) != len(named):
            raise CalibError(f"'{path}' names a layer twice: {', '.join(sorted(tensors))}.")
        found = {n: as_vector(tensors[name], f"'{path}', {name}") for n, name in sorted(named)}
        return ImportedVectors(found, "layer N is the output of block N")
    stacked = list(tensors.values())
    if len(stacked) != 1 or stacked[0].dim() > 2:
        raise CalibError(
            f"'{path}' holds {', '.join(sorted(tensors)[:6]) or 'nothing'}. calib reads keys "
            "layerN.v or layer_N, or one tensor of [layers, width]."
        )
    rows = stacked[0][None] if stacked[0].dim() == 1 else stacked[0]
    if layers is None or len(set(layers)) != len(layers) or len(layers) != len(rows):
        raise CalibError(
            f"'{path}' holds {len(rows)} vectors and does not say of which layers: name them in "
            f"order with layers=[N,...], {len(rows)} different ones."
        )
    found = {n: as_vector(row, f"'{path}'") for n, row in zip(layers, rows, strict=True)}
    return ImportedVectors(found, f"its rows are layers {layers}, as given")


READERS: dict[str, Callable[[Path, list[int] | None], ImportedVectors]] = {
    "gguf": read_gguf_vectors,
    "refusal_direction": read_refusal_direction,
    "svec": read_svec,
    "safetensors": read_tensors,
}


def _no_layers(path: Path, layers: list[int] | None) -> None:
    if layers is not None:
        raise CalibError(f"'{path}' says itself which layers it has. Leave layers=... away.")


def _json(path: Path) -> Any:
    try:
        return json.loads(bytes_of(path))
    except (ValueError, RecursionError) as error:
        raise CalibError(f"'{path}' is not readable JSON ({error}).") from error


def _numbers(value: Any, where: str) -> torch.Tensor:
    """A list of numbers, or a list of one such list, as a vector.  # [width] float32"""
    if isinstance(value, list) and value and isinstance(value[0], list):
        if len(value) != 1:
            raise CalibError(
                f"{where}: {len(value)} directions, and calib steers along one. Leave one in the "
                "file."
            )
        value = value[0]
    numbers = isinstance(value, list) and all(type(one) in (int, float) for one in value)
    if not numbers or not value:
        raise CalibError(f"{where}: that is no list of numbers.")
    try:
        return torch.tensor([float(one) for one in value], dtype=torch.float32)
    except OverflowError as error:
        raise CalibError(f"{where}: it holds a number that is too large ({error}).") from error


def _unpickled(path: Path) -> Any:
    data = bytes_of(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise CalibError(
            f"'{path}' is not a file of torch.save ({error}). Files of torch before 1.6 are not "
            "read: load and save it again with a newer one."
        ) from error
    if unpacked > LARGEST:
        raise CalibError(f"'{path}' unpacks to {unpacked} bytes: it is no file of vectors.")
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling fails in any way the file likes
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise CalibError(
            f"'{path}' cannot be read as plain tensors: {first[0][:200]} Pickled objects are not "
            "loaded: they could run code."
        ) from error
