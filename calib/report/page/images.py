"""Images of a finished run: reloaded, and shrunk until all fit into one page."""

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, features

from calib.data.example import Picture
from calib.runs.run import Run
from calib.util.errors import CalibError


def reload_images(run: Run) -> tuple[Run, list[str]]:
    """Return ``run`` with the images that can be loaded again, and notes on the others."""
    notes = []
    try:
        run = run.with_pictures("the report shows the pictures")
    except CalibError as error:
        notes.append(f"{run.name} is shown without the pictures of its queries: {error}")
    try:
        queries = {name: example.query for name, example in run.examples.items()}
        run = run.with_pictures_of(
            question for question in run.reload_utility()
            if queries.get(question.id) == question.query
        )  # fmt: skip
    except CalibError as error:
        notes.append(f"{run.name} is shown without the pictures of its questions: {error}")
    return run, notes


SIZES = ((320, 70), (256, 65), (224, 60), (192, 55), (160, 50), (128, 45), (96, 35), (64, 25))
"""Longest side in pixels and quality (0 to 100), from the largest to the smallest."""
_LOSSLESS_SIDE = 128
"""Images up to this side are stored without loss if the largest size is used."""
_SAMPLE = 16
"""Number of images that the first guess of a size is based on."""


@dataclass(frozen=True)
class PackedImages:
    """Distinct images in base64."""

    encoded: list[str]
    indices: list[int | None]
    """For each image given, its index in ``encoded``; None if it could not be opened or packed."""
    mime: str
    notes: list[str]
    """Sentences on images that were shrunk or left out."""


def packed(pictures: Sequence[Picture], budget: int) -> PackedImages:
    """Encode ``pictures`` in at most ``budget`` characters of base64 altogether.

    All get the largest of SIZES that fits. If even the smallest does not, the last images are left
    out.
    """
    kind = "WEBP" if features.check("webp") else "JPEG"
    first = _first_size(pictures, budget, kind)
    for size in range(first, len(SIZES)):
        images = _pack_at(pictures, size, budget, kind, leave_out=size == len(SIZES) - 1)
        if images is not None:
            return images
    raise AssertionError("the last size leaves out what does not fit")


def _first_size(pictures: Sequence[Picture], budget: int, kind: str) -> int:
    """Estimate from a sample the first size that can fit, so that larger ones are not tried.

    Return 0 if the sample has repeated images: their number, and so the total, is not known yet.
    """
    step = max(1, len(pictures) // _SAMPLE)
    opened = [image for image in map(_opened, pictures[::step]) if image is not None]
    distinct = list({_digest(image): image for image in opened}.values())
    if len(pictures) <= len(opened) or len(distinct) < len(opened):
        return 0
    for size in range(len(SIZES)):
        mean = sum(len(_encoded(image, size, kind)) for image in distinct) / len(distinct)
        if mean * len(pictures) <= budget:
            return size
    return len(SIZES) - 1


def _pack_at(
    pictures: Sequence[Picture], size: int, budget: int, kind: str, leave_out: bool
) -> PackedImages | None:
    """Encode at one size; if the budget is exceeded, leave images out or return None."""
    encoded: list[str] = []
    indices: list[int | None] = []
    known: dict[bytes, int] = {}
    room, shrunk, unreadable, left_out = budget, 0, 0, 0
    for picture in pictures:
        image = _opened(picture)
        if image is None:
            unreadable += 1
            indices.append(None)
            continue
        digest = _digest(image)
        if digest not in known:
            text = _encoded(image, size, kind)
            if len(text) + 1 > room:
                if not leave_out:
                    return None
                left_out += 1
                indices.append(None)
                continue
            room -= len(text) + 1
            known[digest] = len(encoded)
            encoded.append(text)
            shrunk += max(image.size) > SIZES[size][0]
        indices.append(known[digest])
    notes = []
    if shrunk:
        side = SIZES[size][0]
        notes.append(f"{shrunk:,} of {len(encoded):,} pictures were shrunk to {side} pixels.")
    if unreadable:
        notes.append(f"{unreadable:,} pictures could not be opened and are missing.")
    if left_out:
        notes.append(f"{left_out:,} pictures are missing: the page would be too large with them.")
    return PackedImages(encoded, indices, f"image/{kind.lower()}", notes)


def _opened(picture: Callable[[], Image.Image]) -> Image.Image | None:
    try:
        return picture().convert("RGB")
    except (OSError, ValueError, CalibError):
        return None


def _digest(image: Image.Image) -> bytes:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


def _encoded(image: Image.Image, size: int, kind: str) -> str:
    side, quality = SIZES[size]
    lossless = kind == "WEBP" and max(image.size) <= _LOSSLESS_SIDE and size == 0
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    file = io.BytesIO()
    if kind == "WEBP":
        image.save(file, kind, quality=quality, method=0, lossless=lossless)
    else:
        image.save(file, kind, quality=quality)
    return base64.b64encode(file.getvalue()).decode()
