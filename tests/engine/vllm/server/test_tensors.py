"""Tensors in the format of vllm-lens: read exactly, and bounded when the data are hostile."""

import base64
import tracemalloc

import pytest
import torch
from raising import raises

zstandard = pytest.importorskip("zstandard", reason="the serve extra brings zstandard")

from calib.engine.vllm.server.tensors import TYPES, decode_tensor, encode_tensor  # noqa: E402

NUMBERS = "AACAPwAAAMAAAIA/AAAAQA=="
"""1, -2, 1 and 2 as little-endian float32, written by hand."""
BFLOAT16 = "KLUv/SAEIQAAgD8AwA=="
"""1 and -2 as bfloat16 (80 3f, 00 c0) in a zstd frame of one raw block, written by hand."""


def b64(data):
    return base64.b64encode(data).decode()


def zeros(count):
    """A zstd frame of this many zero bytes that does not state its size."""
    compressor = zstandard.ZstdCompressor().compressobj()
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b64(b"".join([*parts, compressor.flush()]))


def test_tensors_written_by_hand():
    plain = decode_tensor(NUMBERS, [2, 2], "float32")
    assert plain.dtype == torch.float32 and plain.tolist() == [[1, -2], [1, 2]]
    half = decode_tensor(BFLOAT16, [1, 2], "int16", "torch.bfloat16", "zstd")
    assert half.dtype == torch.bfloat16 and half.tolist() == [[1, -2]]


@pytest.mark.parametrize("dtype", sorted(set(TYPES.values()), key=str), ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_encoding_keeps_every_bit(dtype, transposed):
    tensor = torch.randn(3, 2, 5).to(dtype)
    tensor = tensor.transpose(0, 2) if transposed else tensor
    again = decode_tensor(**encode_tensor(tensor))
    assert again.dtype == dtype and torch.equal(again, tensor)


@pytest.mark.parametrize(
    "code, quoted, changes",
    [
        ("unsupported", "int64", {"dtype": "int64", "original_dtype": "torch.int64"}),
        ("unsupported", "int16", {"dtype": "int16"}),
        ("unsupported", ">f4", {"dtype": ">f4"}),
        ("unsupported", "object", {"dtype": "object"}),
        ("unsupported", "torch.bfloat16", {"original_dtype": "torch.bfloat16"}),
        ("unsupported", "gzip", {"compression": "gzip"}),
        ("invalid-value", "base64", {"data": "@@@@"}),
        ("invalid-value", "base64", {"data": "é"}),
        ("invalid-value", "zstd", {"compression": "zstd"}),
        ("mismatch", "20", {"shape": [5]}),
        ("mismatch", "12", {"shape": [3]}),
        ("mismatch", "0 bytes", {"data": ""}),
        ("invalid-value", "zstd", {"data": "", "compression": "zstd"}),
        ("invalid-value", "16 bytes", {"data": zeros(1 << 20), "compression": "zstd"}),
    ],
)
def test_other_formats_are_refused(code, quoted, changes):
    fields = {"data": NUMBERS, "shape": [4], "dtype": "float32", **changes}
    with raises(code, quoted):
        decode_tensor(**fields)


def test_a_cut_frame_is_refused():
    encoded = encode_tensor(torch.randn(100))
    encoded["data"] = b64(base64.b64decode(encoded["data"])[:200])
    with raises("invalid-value", "400"):
        decode_tensor(**encoded)


def test_a_frame_of_another_size_is_refused():
    for count in (99, 101):
        encoded = encode_tensor(torch.randn(count))
        with raises("mismatch", "400", str(4 * count)):
            decode_tensor(**{**encoded, "shape": [100]})


def test_a_frame_that_needs_a_large_window_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = b64(compressor.compress(bytes(16)) + compressor.flush())
    with raises("invalid-value", "zstd"):
        decode_tensor(data, [4], "float32", "torch.float32", "zstd")


def test_no_more_is_decompressed_than_the_shape_needs():
    """A gigabyte of zeros in a few kilobytes of data, with and without its size in the frame."""
    stated = b64(zstandard.ZstdCompressor().compress(bytes(1 << 28)))
    for bomb, code in ((zeros(1 << 30), "invalid-value"), (stated, "mismatch")):
        assert len(bomb) < 200_000
        tracemalloc.start()
        try:
            with raises(code, "16"):
                decode_tensor(bomb, [4], "float32", "torch.float32", "zstd")
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
