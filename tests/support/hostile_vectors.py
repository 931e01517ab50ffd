"""Hostile files of directions and of third-party vectors."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hostile import Hostile, Place, canary
from hostile_checkpoints import weight_header
from hostile_content import ESCAPE, HUGE, LONG, NOT_JSON, ODD, Put, pickled, special_files
from random_directions import direction_at
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from calib.directions.direction import HEADER, read_direction, write_direction
from calib.interchange.hub import from_hub
from calib.interchange.importing import import_direction


def imported(
    name: str, content: bytes, layers: list[int] | None = None
) -> Callable[[Place], Callable[[], Any]]:
    """Import a file of vectors; its name ends as its format."""
    formats = {"gguf": "gguf", "svec": "svec", "safetensors": "safetensors"}
    kind = formats.get(name.rpartition(".")[2], "pt" if name.endswith("pt") else "npy")

    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / name
        path.write_bytes(content)
        return lambda: import_direction(path, kind, place.shared.vlm, layers)

    return make


def _direction(place: Place) -> Path:
    path = place.folder / "d.safetensors"
    write_direction(path, direction_at(place.shared.vlm, [3]))
    return path


def _with_header(key: str, value: Any) -> Callable[[Place], Callable[[], Any]]:
    """A direction file with one value of its header replaced, without its checksum."""

    def make(place: Place) -> Callable[[], Any]:
        path = _direction(place)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        del metadata["calib_sha256"]
        metadata[HEADER] = json.dumps(json.loads(metadata[HEADER]) | {key: value})
        save_file(load_file(path), path, metadata)
        return lambda: read_direction(path)

    return make


def _with_tensors(change: Callable[[dict[str, torch.Tensor]], object], header: bool = True) -> Any:
    def make(place: Place) -> Callable[[], Any]:
        path = _direction(place)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        del metadata["calib_sha256"]
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata if header else None)
        return lambda: read_direction(path)

    return make


def _reads(content: bytes) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / "d.safetensors"
        path.write_bytes(content.replace(b"CANARY", canary(place).encode()))
        return lambda: read_direction(path)

    return make


def _special(put: Put) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / "d.safetensors"
        put(path)
        return lambda: read_direction(path)

    return make


def _import_special(put: Put, kind: str) -> Any:
    def make(place: Place) -> Callable[[], Any]:
        path = place.folder / "layer_3"
        put(path)
        return lambda: import_direction(path, kind, place.shared.vlm)

    return make


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def gguf(
    tensors: list[tuple[bytes, list[int], int, int]] = (), keys: bytes = b"", count: int = 0,
    rest: bytes = b"", number: int | None = None, version: int = 3,
) -> bytes:  # fmt: skip
    """A GGUF file of any numbers: name, shape, type and offset of each tensor."""
    infos = b"".join(
        _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        for name, shape, kind, offset in tensors
    )
    head = struct.pack("<IQQ", version, len(tensors) if number is None else number, count)
    body = b"GGUF" + head + keys + infos
    return body + bytes(-len(body) % 32) + rest


def _key(name: bytes, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


WIDTH = 128
_GGUF = {
    "nothing": b"",
    "a magic number only": b"GGUF",
    "version 2^31": gguf(version=2**31),
    "2^60 tensors": gguf(number=2**60),
    "2^60 keys": gguf(count=2**60),
    "99,999 keys that are absent": gguf(count=99_999),
    "an array of 2^50 values": gguf(
        keys=_key(b"a", 9, struct.pack("<IQ", 0, 2**50)), count=1),
    "arrays within arrays": gguf(keys=_key(b"a", 9, struct.pack("<IQ", 9, 1) * 99), count=1),
    "a text of 2^62 bytes": gguf(keys=struct.pack("<Q", 2**62), count=1),
    "an unknown type": gguf(keys=_key(b"a", 99, b""), count=1),
    "an alignment of zero": gguf(
        keys=_key(b"general.alignment", 4, struct.pack("<I", 0)), count=1),
    "a text as alignment": gguf(keys=_key(b"general.alignment", 8, _text(b"x")), count=1),
    "a tensor of 2^62 values": gguf([(b"direction.3", [2**62], 0, 0)]),
    "a tensor at 2^63": gguf([(b"direction.3", [WIDTH], 0, 2**63)], rest=bytes(4 * WIDTH)),
    "tensors on each other": gguf(
        [(f"direction.{k}".encode(), [2**18], 0, 0) for k in range(2_000)], rest=bytes(2**20)),
    "zero dimensions": gguf([(b"direction.3", [], 0, 0)]),
    "five dimensions": gguf([(b"direction.3", [1] * 5, 0, 0)]),
    "a quantized tensor": gguf([(b"direction.3", [WIDTH], 2, 0)], rest=bytes(999)),
    "a layer of 10^9": gguf([(b"direction.999999999", [WIDTH], 0, 0)], rest=bytes(4 * WIDTH)),
    "an escape sequence as name": gguf([(ESCAPE.encode(), [WIDTH], 0, 0)], rest=bytes(4 * WIDTH)),
    "a long name": gguf([(LONG.encode(), [WIDTH], 0, 0)], rest=bytes(4 * WIDTH)),
    "not a number": gguf([(b"direction.3", [WIDTH], 0, 0)],
                         rest=struct.pack("<f", float("nan")) * WIDTH),
    "zeros": gguf([(b"direction.3", [WIDTH], 0, 0)], rest=bytes(4 * WIDTH)),
    "another width": gguf([(b"direction.3", [7], 0, 0)], rest=bytes(28)),
}  # fmt: skip


def _saved(value: Any) -> bytes:
    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


def _archive(pickle: bytes, **members: bytes) -> bytes:
    """A file of torch.save with any pickle."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return data.getvalue()


# A list that contains itself, and an object that contains itself under a name.
_OWN_LIST = b"\x80\x02]q\x00h\x00a."
_OWN_OBJECT = b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."


def _pt() -> dict[str, bytes]:
    ones = torch.ones(1)
    return {
        "a pickle that runs a command": _archive(pickled("touch canary")),
        "a bare pickle": pickled("touch canary"),
        "a list of itself": _archive(_OWN_LIST),
        "an object of itself": _archive(_OWN_OBJECT),
        "a deep list": _archive(b"\x80\x02" + b"](" * 3_000 + b"e" * 3_000 + b"."),
        "10^9 views of one number": _saved(ones.expand(10**9, 1)),
        "10^9 rows without numbers": _saved(torch.zeros(10**9, 0)),
        "a view of 10^12 numbers": _saved(ones.expand(10**6, 10**6)),
        "a wide view": _saved(ones.expand(1, 10**8)),
        "many vectors": _saved([torch.ones(1)] * 2),
        "an archive of zeros": _archive(b"\x80\x02N.", zeros=bytes(300 * 2**20)),
        "an archive cut in two": _saved(torch.ones(WIDTH))[:400],
        "none": _saved(None),
        "a text": _saved(ESCAPE),
        "texts": _saved({"a": ESCAPE, "b": LONG}),
        "long names": _saved({LONG: ones, LONG + "2": ones}),
        "a layer of 999,999": _saved({"layer_999999": torch.ones(WIDTH)}),
        "a huge layer": _saved({10**30: torch.ones(WIDTH)}),
        "a negative layer": _saved({-1: torch.ones(WIDTH)}),
        "a protocol of 99": _archive(b"\x80\x63N."),
        "an empty pickle": _archive(b""),
    }


def _npy(header: bytes, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header


def _npz(*members: tuple[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def _numpy() -> dict[str, bytes]:
    objects, text = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(text, np.array(["x" * 99]))
    shape = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }\n"
    return {
        "objects": objects.getvalue(),
        "texts": text.getvalue(),
        "a bare pickle": pickled("touch canary"),
        "10^15 numbers": _npy(shape % b"1000000000000000,"),
        "a negative shape": _npy(shape % b"-5,"),
        "code as header": _npy(b"__import__('os').system('touch canary')\n"),
        "a deep header": _npy(b"(" * 9_000 + b")" * 9_000 + b"\n"),
        "an unknown version": _npy(b"{}", b"\x09\x09"),
        "nothing": b"",
    }


def _svec(value: Any, **more: Any) -> bytes:
    return json.dumps({"directions": value, **more}).encode()


def vectors() -> list[Hostile]:
    """Every hostile file of vectors."""
    known = {"harmless": True}
    inputs = [Hostile(f"GGUF: {what}", imported("v.gguf", data)) for what, data in _GGUF.items()]
    inputs += [
        Hostile(f".pt: {what}", imported("v_layer_3.pt", data, [0] if "of one" in what else None))
        for what, data in _pt().items()
    ]
    arrays = _numpy()
    inputs += [Hostile(f".npy: {what}", imported("v_layer_3.npy", data))
               for what, data in arrays.items()]  # fmt: skip
    inputs += [
        Hostile(f".npz: {what}", imported("v.npz", data))
        for what, data in {
            "objects": _npz(("layer_3.npy", arrays["objects"])),
            "a pickle": _npz(("layer_3.npy", pickled("touch canary"))),
            "a path": _npz(("../../layer_3.npy", arrays["texts"])),
            "zeros": _npz(("layer_3.npy", bytes(300 * 2**20))),
            "nothing": _npz(),
        }.items()
    ]
    inputs += [
        Hostile(f".svec: {what}", imported("v.svec", data))
        for what, data in {
            **NOT_JSON,
            "no layers": _svec({}),
            "a huge number": _svec({"3": [HUGE]}),
            "not numbers": _svec({"3": ["a", None]}),
            "truth values": _svec({"3": [True] * WIDTH}),
            "deep numbers": _svec({"3": [[[1.0]]]}),
            "a layer as an escape sequence": _svec({ESCAPE: [1.0]}),
            "a layer as a long text": _svec({LONG: [1.0]}),
            "infinite numbers": _svec({"3": [float("inf")] * WIDTH}),
        }.items()
    ]
    inputs += [
        Hostile(f"safetensors to import: {what}", imported("v.safetensors", data))
        for what, data in {
            "zeros": bytes(99),
            "a deep header": weight_header(b'{"a":' * 50_000),
            "a long name": weight_header(
                json.dumps({LONG: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode(),
                rest=bytes(4)),
            "8-bit numbers": weight_header(
                b'{"layer_3":{"dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4]}}', rest=bytes(4)),
            "4-bit numbers": weight_header(
                b'{"layer_3":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}', rest=bytes(4)),
            "no dimension": weight_header(
                b'{"layer_3":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', rest=bytes(4)),
            "one number of another name": weight_header(
                b'{"v":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', rest=bytes(4)),
            "99 dimensions": weight_header(
                b'{"layer_3":{"dtype":"F32","shape":[' + b"1," * 98 + b'1],"data_offsets":[0,4]}}',
                rest=bytes(4)),
        }.items()
    ]  # fmt: skip
    inputs += [
        Hostile(f"direction file: {what}", _reads(data))
        for what, data in {
            "a pickle": pickled("CANARY"), "zeros": bytes(99), "JSON": b"{}",
            "a deep header": weight_header(b'{"a":' * 50_000),
            "a deep calib header": weight_header(json.dumps(
                {"__metadata__": {HEADER: "[" * 50_000}}).encode()),
            "numbers as metadata": weight_header(b'{"__metadata__":{"calib_direction":5}}'),
            "no tensors": weight_header(json.dumps(
                {"__metadata__": {HEADER: json.dumps({"schema": 2, "layers": [1]})}}).encode()),
            "4-bit numbers": weight_header(
                b'{"vectors":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}', rest=bytes(4)),
        }.items()
    ]  # fmt: skip
    inputs += [
        Hostile(f"direction file, {key}: {kind}", _with_header(key, ODD[kind]), harmless=True)
        for key in ("layers", "strength", "auroc", "checkpoint", "site", "effect_kl", "vectors",
                    "schema", "chosen_layer", "pairs")
        for kind in ("null", "a huge number", "an escape sequence", "a nested list", "an object")
    ]  # fmt: skip
    inputs += [
        Hostile(f"direction file: {what}", _with_tensors(change, what != "no header"), **known)
        for what, change in {
            "no header": lambda tensors: None,
            "no vectors": lambda tensors: tensors.pop("vectors"),
            "no gap": lambda tensors: tensors.pop("gap"),
            "another tensor": lambda tensors: tensors.update(evil=torch.ones(1)),
            "a tensor of a header's field": lambda tensors: tensors.update(site=torch.ones(1)),
            "a gap without a dimension": lambda tensors: tensors.update(gap=torch.tensor(1.0)),
            "no numbers": lambda tensors: tensors.update(vectors=torch.zeros(1, 0)),
            "a wide vector": lambda tensors: tensors.update(vectors=torch.eye(1, 10**6)),
        }.items()
    ]
    for what, put in special_files().items():
        inputs.append(Hostile(f"direction file: {what}", _special(put)))
        inputs += [Hostile(f"file to import as {kind}: {what}", _import_special(put, kind))
                   for kind in ("gguf", "pt", "safetensors", "svec")]  # fmt: skip
    inputs += [
        Hostile(f"name on the hub: {name[:20]!r}", lambda place, name=name: lambda: from_hub(name))
        for name in ("../../etc", "a/../b", "/etc/passwd", "a\0/b", ESCAPE, "x" * 9_999, "a b/c")
    ]
    return inputs
