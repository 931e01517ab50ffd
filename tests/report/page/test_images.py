"""Images of the page: within a budget, each once, with notes on those shrunk or left out."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from calib.report.page.images import SIZES, packed
from calib.util.errors import CalibError


def noise(side, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def shown(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_small_images_are_lossless():
    image = noise(64, 0)
    result = packed([lambda: image], 1_000_000)
    assert result.mime == "image/webp" and not result.notes
    assert shown(result.encoded[0]).convert("RGB").tobytes() == image.tobytes()


def test_equal_images_are_stored_once():
    images = [noise(16, 0), noise(16, 1)]
    result = packed([lambda k=k: images[k % 2].copy() for k in range(5)], 1_000_000)
    assert len(result.encoded) == 2 and result.indices == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("budget", [400_000, 90_000, 20_000])
def test_images_are_shrunk_to_fit_the_budget(budget):
    images = [noise(500, k) for k in range(8)]
    result = packed([lambda k=k: images[k] for k in range(8)], budget)
    assert sum(map(len, result.encoded)) + 8 <= budget
    side = max(shown(result.encoded[0]).size)
    assert side in [rung[0] for rung in SIZES]
    assert "8 of 8" in result.notes[0] and f"{side} pixels" in result.notes[0]
    assert len(result.encoded) == 8


def test_images_that_fit_at_no_size_are_left_out_and_counted():
    images = [noise(200, k) for k in range(6)]
    result = packed([lambda k=k: images[k] for k in range(6)], 2000)
    kept = len(result.encoded)
    assert 0 < kept < 6 and sum(map(len, result.encoded)) <= 2000
    assert result.indices.count(None) == 6 - kept
    assert f"{6 - kept} pictures are missing" in result.notes[-1]


def test_larger_budgets_give_larger_images():
    images = [noise(500, k) for k in range(4)]
    sides = [
        max(shown(packed([lambda k=k: images[k] for k in range(4)], budget).encoded[0]).size)
        for budget in (30_000, 2_000_000)
    ]
    assert sides[0] < sides[1] == SIZES[0][0]


def test_images_that_cannot_be_opened_are_counted():
    def gone():
        raise OSError("gone")

    def refused():
        raise CalibError("not-found", "no picture")

    result = packed([gone, lambda: noise(8, 0), refused], 100_000)
    assert result.indices == [None, 0, None]
    (note,) = result.notes
    assert note.startswith("2 pictures")
