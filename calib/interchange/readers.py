"""Readers of third-party direction files: each returns one vector per layer.

A layer is the 0-based decoder block whose output the vector was read from. No reader runs code from
a file: pickles are read by torch's restricted loader, and rejected if it cannot read them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from calib.interchange.array_files import read_array_vectors
from calib.interchange.gguf import read_control_vector
from calib.interchange.vectors import as_vector, read_file, read_pickle
from calib.util.errors import CalibError
from calib.util.reading import parse_json

METADATA = "direction_metadata.json"
_LAYER_KEY = re.compile(r"(?:layer(0|[1-9]\d{0,5})\.v|layer_(0|[1-9]\d{0,5}))", re.ASCII)


@dataclass(frozen=True)
class ImportedVectors:
    """The vectors of a third-party file."""

    vectors: dict[int, torch.Tensor]
    """By layer. # [width] float32"""
    note: str
    """How the file's numbers became layers."""


def read_gguf_vectors(path: Path, layers: list[int] | None) -> ImportedVectors:
    """Read a control vector of llama.cpp, repeng or EasySteer: direction.N belongs to block N."""
    _refuse_layers(path, layers)
    return ImportedVectors(read_control_vector(path), "direction.N is the output of block N")


def read_refusal_direction(path: Path, layers: list[int] | None) -> ImportedVectors:
    """Read ``direction.pt`` of refusal_direction with ``direction_metadata.json`` next to it.

    The metadata's layer counts block inputs: the input of block N is the output of block N - 1.
    """
    _refuse_layers(path, layers)
    vector = as_vector(read_pickle(path), f"'{path}'")
    metadata_path = path.with_name(METADATA)
    metadata = _read_json(metadata_path)
    layer = metadata.get("layer") if isinstance(metadata, dict) else None
    if type(layer) is not int or layer < 0:
        raise CalibError("invalid-content", f"'{metadata_path}': layer {layer!r} is not a layer.")
    if layer == 0:
        raise CalibError(
            "unsupported",
            f"'{path}' has layer 0, the input of block 0. calib's layers are outputs of blocks, "
            "and that input is no block's output.",
        )
    return ImportedVectors(
        {layer - 1: vector},
        f"its layer {layer} is the input of that block, so the output of block {layer - 1}",
    )


def read_svec(path: Path, layers: list[int] | None) -> ImportedVectors:
    """Read JSON of IBM's activation-steering or of AISteer360.

    The former has a vector per layer, the latter a list of vectors, which must contain only one.
    """
    _refuse_layers(path, layers)
    content = _read_json(path)
    directions = content.get("directions") if isinstance(content, dict) else None
    if not isinstance(directions, dict):
        raise CalibError(
            "invalid-content", f"'{path}' has no 'directions', so it is not an .svec file."
        )
    if content.get("num_heads") is not None or content.get("head_dim") is not None:
        raise CalibError(
            "unsupported",
            f"'{path}' contains directions of attention heads; calib imports directions of the "
            "residual stream only.",
        )
    vectors = {}
    for key, value in directions.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,5}", key):
            raise CalibError("invalid-content", f"'{path}': '{key}' is not a layer.")
        vectors[int(key)] = _parse_vector(value, f"'{path}', layer {key}")
    return ImportedVectors(
        vectors,
        "each vector belongs to the output of the block it was read from; activation-steering adds "
        "it at that block's input, one layer lower: use shift=-1 to reproduce that",
    )


def read_tensors(path: Path, layers: list[int] | None) -> ImportedVectors:
    """Read safetensors with keys ``layerN.v`` or ``layer_N``, or with one tensor.

    The rows of a single tensor, [layers, width] or [width], belong to ``layers``.
    """
    try:
        tensors = load(read_file(path))
    except SafetensorError as error:
        raise CalibError(
            "unreadable", f"'{path}' is not a readable safetensors file: {error}"
        ) from error
    except (KeyError, RuntimeError) as error:  # a type that torch lacks, or a shape beyond it
        raise CalibError(
            "invalid-content", f"'{path}' has a tensor that torch cannot hold: {error}."
        ) from error
    matches = {name: _LAYER_KEY.fullmatch(name) for name in tensors}
    if tensors and all(matches.values()):
        _refuse_layers(path, layers)
        numbered = sorted((int(m[1] or m[2]), name) for name, m in matches.items() if m)
        if len({number for number, _ in numbered}) != len(numbered):
            raise CalibError(
                "duplicate", f"'{path}' names a layer twice: {', '.join(sorted(tensors))}."
            )
        vectors = {n: as_vector(tensors[name], f"'{path}', {name}") for n, name in numbered}
        return ImportedVectors(vectors, "layer N is the output of block N")
    stacked = list(tensors.values())
    if len(stacked) != 1 or stacked[0].dim() not in (1, 2):
        raise CalibError(
            "invalid-content",
            f"'{path}' contains {', '.join(sorted(tensors)[:6]) or 'no tensors'}. calib reads keys "
            "layerN.v or layer_N, or one tensor of [layers, width].",
        )
    rows = stacked[0][None] if stacked[0].dim() == 1 else stacked[0]
    if layers is None or len(set(layers)) != len(layers) or len(layers) != len(rows):
        raise CalibError(
            "missing-setting",
            f"'{path}' contains {len(rows)} vectors without layer numbers. Give {len(rows)} "
            "different layers in order: layers=[N,...].",
        )
    vectors = {n: as_vector(row, f"'{path}'") for n, row in zip(layers, rows, strict=True)}
    return ImportedVectors(vectors, f"its rows are layers {layers}, as given")


def read_torch(path: Path, layers: list[int] | None) -> ImportedVectors:
    """Read vectors of torch.save: a tensor, a list, or a table by layer; see read_array_vectors."""
    metadata = path.with_name(METADATA)
    if path.name == "direction.pt" and metadata.is_file():
        raise CalibError(
            "conflicting-settings",
            f"'{path}' has {METADATA} next to it, which names its layer as an input of a block. "
            "Give format=refusal_direction.",
        )
    return ImportedVectors(*read_array_vectors(path, layers, "pt"))


def read_numpy(path: Path, layers: list[int] | None) -> ImportedVectors:
    """Read vectors of numpy.save or numpy.savez; see read_array_vectors."""
    return ImportedVectors(*read_array_vectors(path, layers, "npy"))


READERS: dict[str, Callable[[Path, list[int] | None], ImportedVectors]] = {
    "gguf": read_gguf_vectors,
    "refusal_direction": read_refusal_direction,
    "svec": read_svec,
    "safetensors": read_tensors,
    "pt": read_torch,
    "npy": read_numpy,
}
"""Import formats other than "native", and their readers."""


def _refuse_layers(path: Path, layers: list[int] | None) -> None:
    if layers is not None:
        raise CalibError(
            "conflicting-settings",
            f"'{path}' names its own layers, which layers={layers} cannot replace. Omit layers.",
        )


def _read_json(path: Path) -> Any:
    try:
        return parse_json(read_file(path))
    except ValueError as error:
        raise CalibError("unreadable", f"'{path}' is not readable JSON ({error}).") from error


def _parse_vector(value: Any, source: str) -> torch.Tensor:
    """A list of numbers, or a list that contains one such list, as a vector. # [width] float32"""
    if isinstance(value, list) and value and isinstance(value[0], list):
        if len(value) != 1:
            raise CalibError(
                "unsupported",
                f"{source} has {len(value)} directions, but calib imports one per layer. Remove "
                "the others from the file.",
            )
        value = value[0]
    numeric = isinstance(value, list) and all(type(number) in (int, float) for number in value)
    if not numeric or not value:
        raise CalibError("invalid-content", f"{source} is not a list of numbers.")
    try:
        return torch.tensor([float(number) for number in value], dtype=torch.float32)
    except OverflowError as error:
        raise CalibError(
            "invalid-content", f"{source} contains a number that is too large ({error})."
        ) from error
