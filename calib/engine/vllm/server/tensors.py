"""Tensors in JSON, in the format of vllm-lens (a plugin for vLLM, version 1.3.0).

A tensor is an object: "data" is base64 of zstd of the values in row-major order, "shape" a list,
"dtype" the type of the values as numpy names it, "original_dtype" the type of the tensor as torch
names it, "compression" is "zstd". bfloat16, which numpy lacks, has the bits of int16. In an older
form the values are float32, not compressed, and "compression" is absent.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from typing import Any

import torch

from calib.util.errors import CalibError

TYPES = {
    ("float32", None): torch.float32,
    ("float32", "torch.float32"): torch.float32,
    ("float64", "torch.float64"): torch.float64,
    ("float16", "torch.float16"): torch.float16,
    ("int16", "torch.bfloat16"): torch.bfloat16,
}
"""Types by "dtype" and "original_dtype"."""
LEVEL = 1
"""Level of compression, as the plugin has it."""
MAX_WINDOW = 1 << 23
"""Bytes of earlier output that a frame may make the decompressor keep: what the format's
specification (RFC 8878, section 3.1.1.1.2) recommends; level 1 needs half a megabyte."""


def decode_tensor(
    data: str,
    shape: Sequence[int],
    dtype: str,
    original_dtype: str | None = None,
    compression: str | None = None,
) -> torch.Tensor:
    """A tensor from the fields of its object, which may come from someone who is not trusted.

    No more bytes are decompressed than the shape needs, whatever size the data claim. The caller
    limits the shape.

    Raises CalibError for other types and compressions, and for data that are invalid or not of the
    size of the shape.
    """
    import zstandard

    kind = TYPES.get((dtype, original_dtype))
    if kind is None:
        raise CalibError(
            "unsupported",
            f"has dtype {dtype[:40]!r} with original_dtype {str(original_dtype)[:40]!r}. Send "
            "float32, float64, float16, or bfloat16 as the bits of int16; original_dtype is the "
            "type of the tensor.",
        )
    if compression not in (None, "zstd"):
        raise CalibError(
            "unsupported", f"has compression {compression[:40]!r}. Send zstd, or omit it."
        )
    size = math.prod(shape) * kind.itemsize
    try:
        decoded = base64.b64decode(data, validate=True)
        declared = len(decoded)
        if compression == "zstd":
            declared = zstandard.frame_content_size(decoded)  # -1 if the frame does not say
            if declared in (-1, size):
                decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
                decoded = decompressor.decompress(decoded, max_output_size=size)
                declared = len(decoded)
    except (binascii.Error, ValueError) as error:
        raise CalibError("invalid-value", f"has data that are no base64 ({error}).") from error
    except zstandard.ZstdError as error:
        raise CalibError(
            "invalid-value", f"has data that are no zstd of {size:,} bytes ({error})."
        ) from error
    if declared != size:
        raise CalibError(
            "mismatch", f"has {declared:,} bytes of data, but its shape and dtype need {size:,}."
        )
    return torch.frombuffer(bytearray(decoded), dtype=kind).reshape(list(shape))


def encode_tensor(tensor: torch.Tensor) -> dict[str, Any]:
    """The object of a tensor of one of TYPES, on any device."""
    import zstandard

    names = {kind: pair for pair, kind in TYPES.items()}
    dtype, original_dtype = names[tensor.dtype]
    tensor = tensor.detach().cpu().contiguous()
    bits = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    compressed = zstandard.ZstdCompressor(level=LEVEL).compress(bits.numpy().tobytes())
    return {
        "data": base64.b64encode(compressed).decode("ascii"),
        "dtype": dtype,
        "original_dtype": original_dtype,
        "shape": list(tensor.shape),
        "compression": "zstd",
    }
