"""Readers of vectors that torch.save or numpy.save wrote: .pt, .npy and .npz files.

Such a file is a vector, a list or a table of vectors, and its layer is often in its name only, as
in CAA's vec_layer_13_Llama-2-7b-chat-hf.pt (arXiv 2312.06681). CAA, repeng and steering-vectors
count the outputs of blocks from 0, as calib does.
"""

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calib.interchange.vectors import (
    MAX_VECTORS,
    as_vector,
    read_file,
    read_pickle,
    require_small_archive,
)
from calib.util.errors import CalibError, first_line
from calib.util.listing import shortened

_LAYER_KEY = re.compile(r"(?:(?:[\w.]*[._])?layers?[._-]?)?(\d{1,6})(?:\.v)?", re.ASCII)
"""A layer as a key: 13, layer_13, layers.13, model.layers.13, layer13.v. Not arr_0."""
_LAYER_IN_NAME = re.compile(r"(?<![a-z])layers?[._-]?(\d{1,6})(?!\d)", re.ASCII | re.IGNORECASE)
_KIND_KEY = "layer_type"
"""The site of a steering vector of steering-vectors, beside its vectors."""
ENDINGS = {"pt": (".pt", ".pth"), "npy": (".npy", ".npz")}
"""Endings of file names by format; in a folder, other files are ignored."""
_NUMPY_FLOATS = (np.float16, np.float32, np.float64)


def read_array_vectors(
    path: Path, layers: list[int] | None, format_name: str
) -> tuple[dict[int, torch.Tensor], str]:
    """Vectors by layer, and a sentence on how their layers were found. # [width] float32 each

    ``format_name`` is a key of ENDINGS. ``path`` is a file, or a folder with one file per layer.
    Layers are the keys of a table, or ``layers`` in the order of a list or matrix, or the number
    after "layer" in the file's name.

    Raises CalibError if the content is not vectors of floats (invalid-content), their layers are
    unknown (missing-setting) or named twice (duplicate), or the file cannot be read.
    """
    read = read_pickle if format_name == "pt" else _read_numpy
    if path.is_dir():
        vectors = _read_folder(path, layers, format_name, read)
        return vectors, _CONVENTION.format(found="each file's name")
    content = _unwrapped(read(path), path)
    if isinstance(content, Mapping):
        if layers is not None:
            raise CalibError(
                "conflicting-settings",
                f"'{path}' names its own layers, which layers={layers} cannot replace. Omit "
                "layers, or give shift=N to renumber them.",
            )
        return _by_key(content, path), _CONVENTION.format(found="each key")
    rows = _rows(content, path)
    if layers is None and len(rows) == 1:
        return {_layer_of_name(path): rows[0]}, _CONVENTION.format(found="the file's name")
    if layers is None or len(set(layers)) != len(layers) or len(layers) != len(rows):
        raise CalibError(
            "missing-setting",
            f"'{path}' contains {len(rows)} vectors without layer numbers. Give {len(rows)} "
            "different layers in order: layers=[N,...], counted from 0 by the blocks' outputs.",
        )
    return dict(zip(layers, rows, strict=True)), f"its vectors are layers {layers}, as given"


_CONVENTION = (
    "the number in {found} is the block whose output the vector was read from, counted from 0, as "
    "CAA, repeng and steering-vectors count; give shift=-1 if the file's author counted the inputs "
    "of blocks, or from 1"
)


def _read_folder(
    folder: Path,
    layers: list[int] | None,
    format_name: str,
    read: Callable[[Path], Any],
) -> dict[int, torch.Tensor]:
    """The vectors of a folder with one file per layer. # [width] float32 each"""
    files = vector_files(folder, format_name)
    if not files or layers is not None:
        raise CalibError(
            "conflicting-settings" if files else "not-found",
            f"'{folder}' is a folder"
            + (
                f", whose files name their layers; omit layers={layers}."
                if files
                else f" without files that end in {' or '.join(ENDINGS[format_name])}."
            ),
        )
    vectors: dict[int, torch.Tensor] = {}
    names: dict[int, str] = {}
    for file in files:
        layer = _layer_of_name(file)
        if layer in names:
            raise CalibError(
                "duplicate",
                f"'{folder}' has two files of layer {layer}: {names[layer]} and {file.name}. Put "
                "the files of one direction in a folder of their own.",
            )
        rows = _rows(_unwrapped(read(file), file), file)
        if len(rows) != 1:
            raise CalibError(
                "invalid-content",
                f"'{file}' has {len(rows)} vectors; a file of one layer has one.",
            )
        vectors[layer], names[layer] = rows[0], file.name
    return vectors


def vector_files(folder: Path, format_name: str) -> list[Path]:
    """The files of a folder that have an ending of the format, by name."""
    endings = ENDINGS[format_name]
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in endings and file.is_file()
    )


def _unwrapped(content: Any, path: Path) -> Any:
    """The vectors of ``content``: those of a table whose only other entries are texts, such as the
    name of the model.

    Raises CalibError for entries that would have to be ignored.
    """
    while isinstance(content, Mapping) and not all(_is_layer(key) for key in content):
        kind = content.get(_KIND_KEY, "decoder_block")
        if kind != "decoder_block":
            raise CalibError(
                "unsupported",
                f"'{path}' has {_KIND_KEY}={kind}; calib imports vectors of the residual stream "
                "(decoder_block) only.",
            )
        inner = {key: value for key, value in content.items() if not isinstance(value, str)}
        if len(inner) != 1:
            raise CalibError(
                "invalid-content",
                f"'{path}' has the entries {_some(content)}. calib reads one entry, or entries "
                "whose keys are layers: 13, layer_13 or model.layers.13. Save the vectors alone.",
            )
        content = next(iter(inner.values()))
    return content


def _is_layer(key: Any) -> bool:
    return type(key) is int or (isinstance(key, str) and _LAYER_KEY.fullmatch(key) is not None)


def _by_key(content: Mapping[Any, Any], path: Path) -> dict[int, torch.Tensor]:
    vectors: dict[int, torch.Tensor] = {}
    for key, value in content.items():
        match = _LAYER_KEY.fullmatch(str(key))
        layer = int(match[1]) if match else int(key)  # a negative number has no match
        if layer in vectors:
            raise CalibError("duplicate", f"'{path}' names layer {layer} twice: {_some(content)}.")
        rows = _rows(value, path, f", {key}")
        if len(rows) != 1:
            raise CalibError(
                "invalid-content",
                f"'{path}', {key}, has {len(rows)} vectors; a direction has one per layer.",
            )
        vectors[layer] = rows[0]
    return vectors


def _rows(content: Any, path: Path, entry: str = "") -> list[torch.Tensor]:
    """The vectors of a tensor [..., width] or of a list. # [width] float32 each

    Leading dimensions of size 1 are dropped.
    """
    if isinstance(content, list | tuple):
        listed = [_rows(part, path, f"{entry}, item {n}") for n, part in enumerate(content)]
        if any(len(part) != 1 for part in listed) or not listed:
            raise CalibError(
                "invalid-content",
                f"'{path}'{entry} is a list of {len(listed)} items that are not one vector each.",
            )
        return [part[0] for part in listed]
    if type(content) is torch.nn.Parameter:
        content = content.detach()
    if torch.is_tensor(content) and content.layout == torch.strided and not content.is_nested:
        while content.dim() > 1 and len(content) == 1:
            content = content[0]
        # Its numbers may all be one number in the file, and a row may have no numbers.
        if content.dim() == 2 and max(len(content), content.numel() // 1024) <= MAX_VECTORS:
            return [as_vector(row, f"'{path}'{entry}, row {n}") for n, row in enumerate(content)]
    return [as_vector(content, f"'{path}'{entry}")]


def _layer_of_name(path: Path) -> int:
    found = {int(number) for number in _LAYER_IN_NAME.findall(path.name)}
    if len(found) != 1:
        problem = f"several layers {sorted(found)}" if found else "no layer"
        raise CalibError(
            "missing-setting",
            f"'{path}' contains one vector, and its name has {problem}. Give the block whose "
            "output it was read from, counted from 0: layers=[N].",
        )
    return found.pop()


def _read_numpy(path: Path) -> Any:
    """A tensor, or a table of tensors. Pickled arrays of objects are not read."""
    data = read_file(path)
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            require_small_archive(data, path)
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return _tensor(loaded, f"'{path}'")
        with loaded:
            return {name: _tensor(loaded[name], f"'{path}', {name}") for name in loaded.files}
    except CalibError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        raise CalibError(
            "unreadable",
            f"'{path}' cannot be read as numpy arrays: {first_line(error)[:200]} Arrays of "
            "objects are not loaded, because they could run code.",
        ) from error


def _tensor(array: Any, source: str) -> torch.Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("=") not in _NUMPY_FLOATS:
        kind = getattr(array, "dtype", type(array).__name__)
        raise CalibError(
            "invalid-content",
            f"{source} is not an array of floats, but {kind}. Save it as float32.",
        )
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _some(content: Mapping[Any, Any]) -> str:
    return ", ".join(shortened((str(key)[:40] for key in content), 6))
