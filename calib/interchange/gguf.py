"""GGUF control vectors, as llama.cpp, repeng and EasySteer read them.

One float32 vector ``direction.N`` per layer. N is the 0-based decoder block to whose output the
vector is added at every token, which is calib's own numbering. Vectors have strength 1, so the
other program's scale is calib's strength.

Files are written with the gguf package (extra calib[gguf]) and read by the bounded reader below.
"""

import re
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from calib.config.named_model import model_name
from calib.directions.direction import Direction
from calib.interchange.vectors import read_file
from calib.util.errors import CalibError

ARCHITECTURE = "controlvector"
"""Value of general.architecture, by which readers recognise a file of control vectors."""
_TENSOR_NAME = re.compile(r"direction\.(0|[1-9][0-9]{0,8})")


def control_vector(direction: Direction, format_name: str) -> bytes:
    """The file of ``direction`` for ``gguf``, ``repeng`` or ``easysteer``.

    ``direction`` must be expressible in the format. The keys ``calib.*`` document the vectors; all
    three readers ignore them. The model hint is the model's name, which no reader checks either.

    Raises CalibError if the gguf package is missing.
    """
    keys: dict[str, str | int] = {
        "controlvector.model_hint": model_name(direction.checkpoint),
        "controlvector.layer_count": len(direction.layers),
    }
    if format_name == "easysteer":
        keys["controlvector.method"] = direction.estimator
    keys |= {
        "calib.operator": "add",
        "calib.site": "residual",
        "calib.layer": "0-based decoder block, its output",
        "calib.strength": f"{direction.strength:g}",
        "calib.fingerprint": direction.fingerprint,
    }
    if direction.verdict:
        keys["calib.verdict"] = direction.verdict
    return gguf_bytes(keys, {f"direction.{n}": direction.at(n, 1.0) for n in direction.layers})


def gguf_bytes(keys: Mapping[str, str | int], vectors: Mapping[str, torch.Tensor]) -> bytes:
    """A file of control vectors with text and uint32 values by key. # [width] per vector

    Raises CalibError if the gguf package is missing.
    """
    try:
        import gguf
    except ImportError:
        raise CalibError(
            "needs-package",
            "Writing GGUF files needs the gguf package: pip install 'calib[gguf]'. Or use "
            "format=native or format=lm_eval.",
        ) from None
    with tempfile.TemporaryDirectory() as folder:  # the writer only writes to paths
        path = Path(folder) / "vectors.gguf"
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        for key, value in keys.items():
            if isinstance(value, str):
                writer.add_string(key, value)
            else:
                writer.add_uint32(key, value)
        for name, vector in vectors.items():
            writer.add_tensor(name, vector.detach().to("cpu", torch.float32).contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def read_control_vector(path: Path) -> dict[int, torch.Tensor]:
    """Vectors by layer from a file of llama.cpp, repeng or EasySteer. # [width] float32

    Raises CalibError if the file cannot be read or contains other tensors than directions.
    """
    _, tensors = parse_gguf(read_file(path), str(path))
    vectors = {}
    for name, vector in tensors.items():
        layer = _TENSOR_NAME.fullmatch(name)
        if layer is None:
            raise CalibError(
                "invalid-content",
                f"'{path}' contains the tensor '{name}', but the tensors of a control vector are "
                "named direction.N.",
            )
        vectors[int(layer[1])] = vector
    return vectors


# Third-party files are not read with the gguf package, because its reader (0.19) trusts the counts
# in a file. A file of 45 bytes that declares an array of 2^50 bytes makes it allocate without end,
# and valid arrays take several hundred bytes of memory per element.

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
_FLOAT32 = 0
"""Type code of float32 tensors; all other types are rejected."""
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
"""struct codes by GGUF value type."""
_STRING, _ARRAY = 8, 9
_TENSOR_TYPES = {1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_MAX_DIMENSIONS = 4
_MAX_ENTRIES = 100_000
"""Largest number of keys, tensors or array elements: far above any file of vectors."""


def parse_gguf(data: bytes, path: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Keys and vectors of a GGUF file; ``path`` is for error messages. # [width] float32 each

    Memory is bounded by the size of ``data``.

    Raises CalibError if ``data`` is not GGUF, is truncated, or contains tensors of another type or
    with more than one dimension.
    """
    cursor = _Cursor(data, path)
    if cursor.take(4) != MAGIC:
        raise CalibError("invalid-content", f"'{path}' is not a GGUF file.")
    version = cursor.number("I")
    if version not in VERSIONS:
        raise CalibError(
            "unsupported",
            f"'{path}' is GGUF version {version}; calib reads versions 2 and 3 (little-endian).",
        )
    num_tensors, num_keys = cursor.count(), cursor.count()
    keys = {}
    for _ in range(num_keys):
        key = cursor.text()
        keys[key] = cursor.value(cursor.number("I"))
    infos = [_tensor_info(cursor) for _ in range(num_tensors)]
    alignment = keys.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**16:
        raise cursor.damaged(f"its data are aligned to {alignment!r} bytes")
    start = -(-cursor.offset // alignment) * alignment
    if 4 * sum(length for _, length, _ in infos) > len(data):  # tensors may overlap
        raise cursor.damaged("its tensors are larger than the file")
    tensors = {}
    for name, length, offset in infos:
        if name in tensors:
            raise cursor.damaged(f"it contains the tensor '{name}' twice")
        cursor.offset = start + offset
        values = bytearray(cursor.take(4 * length))
        tensors[name] = torch.frombuffer(values, dtype=torch.float32).clone()
    return keys, tensors


def _tensor_info(cursor: "_Cursor") -> tuple[str, int, int]:
    """Name, length and offset of the next tensor."""
    name, dimensions = cursor.text(), cursor.number("I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise CalibError(
            "invalid-content", f"'{cursor.path}': '{name}' has {dimensions} dimensions, not 1."
        )
    shape = [cursor.number("Q") for _ in range(dimensions)]
    kind, offset = cursor.number("I"), cursor.number("Q")
    if dimensions != 1 or shape[0] < 1:
        raise CalibError(
            "invalid-content",
            f"'{cursor.path}': '{name}' has shape {shape}, but a direction has one dimension.",
        )
    if kind != _FLOAT32:
        raise CalibError(
            "unsupported",
            f"'{cursor.path}': '{name}' has type {_TENSOR_TYPES.get(kind, kind)}, not F32, which "
            "llama.cpp would reject too. Write the file again with vectors cast to float32.",
        )
    return name, shape[0], offset


class _Cursor:
    """Read position in the bytes of a file; never reads past their end."""

    def __init__(self, data: bytes, path: str) -> None:
        self.data, self.path, self.offset = memoryview(data), path, 0

    def damaged(self, reason: str) -> CalibError:
        return CalibError("invalid-content", f"'{self.path}' is damaged: {reason}.")

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.offset:
            raise self.damaged("it is shorter than its header declares")
        self.offset += size
        return bytes(self.data[self.offset - size : self.offset])

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def count(self) -> int:
        number = self.number("Q")
        if number > _MAX_ENTRIES:
            raise self.damaged(f"it declares {number} entries")
        return number

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner = self.number("I")
            if inner == _ARRAY:  # llama.cpp does not support nested arrays either
                raise self.damaged("it contains nested arrays")
            return [self.value(inner) for _ in range(self.count())]
        if kind not in _SCALARS:
            raise self.damaged(f"it contains a value of unknown type {kind}")
        return self.number(_SCALARS[kind])
