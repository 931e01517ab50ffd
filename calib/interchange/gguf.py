"""Control vectors in GGUF, as llama.cpp, repeng and EasySteer read them.

Written out here because all that a control vector needs is 100 lines, and because a reader of
files from anywhere must not believe a count before it has seen the bytes.

One float32 vector ``direction.N`` per layer, N the 0-based block after whose residual sum it is
added, at every token: calib's own numbering. Vectors are those of strength 1, so that the other
program's scale is calib's strength.
"""

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from calib.directions.direction import Direction
from calib.interchange.vectors import bytes_of
from calib.util.errors import CalibError

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
FLOAT32 = 0
"""The type of a tensor; every other one is refused."""

_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_UINT32, _STRING, _ARRAY = 4, 8, 9
_TENSOR_TYPES = {1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_MOST_DIMENSIONS = 4
_MOST_ENTRIES = 100_000
"""Keys, tensors, or elements of an array: far more than any file of vectors has."""


def write_gguf(keys: Mapping[str, str | int], tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a file: text and uint32 values by key, and vectors by name.  # [n] float32"""
    head = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(keys))]
    for key, value in keys.items():
        head.append(_text(key))
        if isinstance(value, str):
            head += [struct.pack("<I", _STRING), _text(value)]
        else:
            head.append(struct.pack("<II", _UINT32, value))
    body: list[bytes] = []
    offset = 0
    for name, tensor in tensors.items():
        data = tensor.detach().cpu().to(torch.float32).contiguous().numpy().astype("<f4").tobytes()
        head += [_text(name), struct.pack("<IQIQ", 1, tensor.numel(), FLOAT32, offset)]
        body.append(_padded(data))
        offset += len(body[-1])
    return _padded(b"".join(head)) + b"".join(body)


def read_gguf(data: bytes, path: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Keys and vectors of a file; ``path`` is for messages.  # [n] float32 each

    Raises CalibError when it is no such file, ends early, or holds tensors of another type or
    with more than one dimension.
    """
    cursor = _Cursor(data, path)
    if cursor.take(4) != MAGIC:
        raise CalibError(f"'{path}' is not a GGUF file.")
    version = cursor.number("I")
    if version not in (2, VERSION):
        raise CalibError(
            f"'{path}' is GGUF of version {version}; calib reads {VERSION} (little-endian)."
        )
    count, pairs = cursor.count("Q"), cursor.count("Q")
    keys = {}
    for _ in range(pairs):
        key = cursor.text()
        keys[key] = cursor.value(cursor.number("I"))
    places = [_place(cursor) for _ in range(count)]
    alignment = keys.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**16:
        raise CalibError(f"'{path}' is damaged: its data are aligned to {alignment!r} bytes.")
    start = -(-cursor.at // alignment) * alignment
    tensors = {}
    for name, length, offset in places:
        if name in tensors:
            raise CalibError(f"'{path}' is damaged: it holds '{name}' twice.")
        cursor.at = start + offset
        raw = bytearray(cursor.take(4 * length))
        tensors[name] = torch.frombuffer(raw, dtype=torch.float32).clone()
    return keys, tensors


def _place(cursor: "_Cursor") -> tuple[str, int, int]:
    """Name, length and offset of the next tensor."""
    name, dimensions = cursor.text(), cursor.number("I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise CalibError(f"'{cursor.path}': '{name}' has {dimensions} dimensions, not one.")
    shape = [cursor.number("Q") for _ in range(dimensions)]
    kind, offset = cursor.number("I"), cursor.number("Q")
    if dimensions != 1 or shape[0] < 1:
        raise CalibError(f"'{cursor.path}': '{name}' has shape {shape}, not one dimension.")
    if kind != FLOAT32:
        named = _TENSOR_TYPES.get(kind, f"of type {kind}")
        raise CalibError(
            f"'{cursor.path}': '{name}' is {named}, not F32: llama.cpp would refuse it too. Write "
            "the file again with vectors cast to float32."
        )
    return name, shape[0], offset


class _Cursor:
    """A place in the bytes of a file; nothing is read beyond their end."""

    def __init__(self, data: bytes, path: str) -> None:
        self.data, self.path, self.at = memoryview(data), path, 0

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise CalibError(f"'{self.path}' is damaged: it ends before what it announces.")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def count(self, code: str) -> int:
        number = self.number(code)
        if number > _MOST_ENTRIES:
            raise CalibError(f"'{self.path}' is damaged: it announces {number} entries.")
        return number

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner = self.number("I")
            if inner == _ARRAY:  # llama.cpp has none inside another either
                raise CalibError(f"'{self.path}' is damaged: it holds arrays of arrays.")
            return [self.value(inner) for _ in range(self.count("Q"))]
        if kind not in _SCALARS:
            raise CalibError(f"'{self.path}' is damaged: it has a value of unknown type {kind}.")
        return self.number(_SCALARS[kind])


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,8})")


def control_vector(direction: Direction, name: str) -> bytes:
    """The file for one of ``gguf``, ``repeng`` and ``easysteer``; ``direction`` is expressible.

    Keys of calib's own say what the vectors mean; all three readers pass them over. The hint is the
    checkpoint: no reader compares it with the model it runs.
    """
    keys: dict[str, str | int] = {
        "general.architecture": "controlvector",
        "controlvector.model_hint": direction.checkpoint,
        "controlvector.layer_count": len(direction.layers),
    }
    if name == "easysteer":
        keys["controlvector.method"] = direction.estimator
    keys |= {
        "calib.operator": "add",
        "calib.site": "residual",
        "calib.layer": "0-based decoder block, its output",
        "calib.strength": f"{direction.strength:g}",
        "calib.fingerprint": direction.fingerprint,
    }
    return write_gguf(keys, {f"direction.{n}": direction.at(n, 1.0) for n in direction.layers})


def read_control_vector(path: Path) -> dict[int, torch.Tensor]:
    """The vectors of a file of llama.cpp, repeng or EasySteer, by layer.  # [width] float32

    Raises CalibError when the file cannot be read, or holds tensors that are no directions.
    """
    _, tensors = read_gguf(bytes_of(path), str(path))
    found = {}
    for name, vector in tensors.items():
        number = _NAME.fullmatch(name)
        if number is None:
            raise CalibError(
                f"'{path}' holds '{name}', and a control vector only has tensors named direction.N."
            )
        found[int(number[1])] = vector
    return found
