"""Decoding untrusted image files, and errors for those that cannot be decoded."""

import os
import pickle
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raising import raises

from calib.data import images
from calib.data.images import PictureBytes, PictureFile, picture_size, read_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp", "gif"])
def test_every_allowed_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(Image.new("RGB", (20, 10), RED), tmp_path / f"a.{suffix}"))
    assert (image.mode, image.size) == ("RGB", (20, 10))
    assert np.abs(np.subtract(image.getpixel((5, 5)), RED)).max() < 8


def test_the_content_determines_the_format(tmp_path: Path) -> None:
    path = tmp_path / "really_a_jpeg.png"
    Image.new("RGB", (4, 4), RED).save(path, format="JPEG")
    assert read_image(path).size == (4, 4)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    path = save(Image.new("RGB", (20, 10), RED), tmp_path / "turned.jpg", exif=exif)
    assert read_image(path).size == (10, 20)


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    path = save(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(path).getpixel((0, 0)) == RED


def test_transparency_becomes_white(tmp_path: Path) -> None:
    path = save(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), tmp_path / "clear.png")
    assert read_image(path).getpixel((0, 0)) == WHITE


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path: Path) -> None:
    greys = np.full((4, 4), 128 * 257, dtype=np.uint16)
    path = save(Image.fromarray(greys), tmp_path / "deep.png")
    assert read_image(path).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    assert read_image(save(Image.new(mode, (4, 4)), tmp_path / f"a.{suffix}")).mode == "RGB"


def test_a_picture_can_be_pickled(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (4, 4), RED), tmp_path / "a.png")
    assert pickle.loads(pickle.dumps(partial(read_image, path)))().getpixel((0, 0)) == RED


def refused(path: Path, code: str, *values: object) -> None:
    with raises(code, path, *values):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "not-found")


def test_a_folder_is_not_a_picture(tmp_path: Path) -> None:
    refused(tmp_path, "not-found")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not-found")


@pytest.mark.parametrize("content", [b"", b"not a picture", b"<svg xmlns='x'></svg>"])
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png", "unreadable", "PNG, JPEG, WebP, BMP or GIF")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, format="TIFF")
    refused(path, "unreadable")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(Image.fromarray(noise), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(path, "unreadable")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    refused(tmp_path / "bomb.png", "too-large", "64,000,000")


def test_a_file_of_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    refused(save(Image.new("RGB", (4, 4)), tmp_path / "a.png"), "too-large", 10)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_of_a_picture_is_the_one_that_is_shown(
    tmp_path: Path, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(Image.new("RGB", (20, 10), RED), tmp_path / "a.jpg", exif=exif)
    expected = read_image(path).size
    assert expected == ((20, 10) if orientation < 5 else (10, 20))
    monkeypatch.setattr(images, "read_image", None)  # nothing is decoded
    assert picture_size(PictureFile(path)) == expected
    assert picture_size(PictureBytes("cell", path.read_bytes)) == expected
    assert picture_size(lambda: Image.new("RGB", (3, 4))) == (3, 4)


def test_the_size_of_a_broken_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"version https://git-lfs")
    with raises("unreadable", "a.png"):
        picture_size(PictureFile(tmp_path / "a.png"))
