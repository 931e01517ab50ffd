"""Images of a finished run, reloaded and shrunk so that all fit into one page."""

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, features

from calib.data.example import Picture
from calib.runs.run import Run
from calib.util.errors import CalibError


def reload_pictures(run: Run) -> tuple[Run, list[str]]:
    """``run`` with the pictures that can be loaded again, and notes on those that cannot."""
    notes = []
    try:
        run = run.with_pictures("the report shows the pictures")
    except CalibError as error:
        notes.append(f"{run.folder.name} is shown without the pictures of its queries: {error}")
    try:
        queries = {name: example.query for name, example in run.examples.items()}
        run = run.with_pictures_of(
            question for question in run.reload_utility()
            if queries.get(question.id) == question.query
        )  # fmt: skip
    except CalibError as error:
        notes.append(f"{run.folder.name} is shown without the pictures of its questions: {error}")
    return run, notes


RUNGS = ((320, 70), (256, 65), (224, 60), (192, 55), (160, 50), (128, 45), (96, 35), (64, 25))
"""Longest side in pixels and quality, from the best to the smallest."""
_SMALL = 128
"""Pictures up to this side are kept to the last pixel where their rung has room for them."""
_SAMPLE = 16


@dataclass(frozen=True)
class Packed:
    """Distinct pictures as base64, and which of them each picture asked for is."""

    encoded: list[str]
    places: list[int | None]
    """None where a picture could not be opened."""
    mime: str
    notes: list[str]


def packed(pictures: Sequence[Picture], budget: int) -> Packed:
    """``pictures`` in at most ``budget`` characters of base64 altogether.

    The largest rung that fits is taken for all of them. Where even the smallest does not, the last
    ones are left out. What was done is said in the notes.
    """
    kind = "WEBP" if features.check("webp") else "JPEG"
    start = _first_rung(pictures, budget, kind)
    for rung in range(start, len(RUNGS)):
        found = _all_at(pictures, rung, budget, kind, whole=rung == len(RUNGS) - 1)
        if found is not None:
            return found
    raise AssertionError("the last rung is always taken")


def _first_rung(pictures: Sequence[Picture], budget: int, kind: str) -> int:
    """By a sample of them; where they are alike, which one cannot know yet, it is the best."""
    step = max(1, len(pictures) // _SAMPLE)
    opened = [image for image in map(_opened, pictures[::step]) if image is not None]
    distinct = list({_digest(image): image for image in opened}.values())
    if len(pictures) <= len(opened) or len(distinct) < len(opened):
        return 0
    for rung in range(len(RUNGS)):
        mean = sum(len(_encoded(image, rung, kind)) for image in distinct) / len(distinct)
        if mean * len(pictures) <= budget:
            return rung
    return len(RUNGS) - 1


def _all_at(
    pictures: Sequence[Picture], rung: int, budget: int, kind: str, whole: bool
) -> Packed | None:
    """None where it is too much, unless ``whole``: then what is too much is left out."""
    encoded: list[str] = []
    places: list[int | None] = []
    known: dict[bytes, int] = {}
    room, shrunk, unreadable, left_out = budget, 0, 0, 0
    for picture in pictures:
        image = _opened(picture)
        if image is None:
            unreadable += 1
            places.append(None)
            continue
        digest = _digest(image)
        if digest not in known:
            text = _encoded(image, rung, kind)
            if len(text) + 1 > room:
                if not whole:
                    return None
                left_out += 1
                places.append(None)
                continue
            room -= len(text) + 1
            known[digest] = len(encoded)
            encoded.append(text)
            shrunk += max(image.size) > RUNGS[rung][0]
        places.append(known[digest])
    notes = []
    if shrunk:
        side = RUNGS[rung][0]
        notes.append(f"{shrunk:,} of {len(encoded):,} pictures were shrunk to {side} pixels.")
    if unreadable:
        notes.append(f"{unreadable:,} pictures could not be opened and are missing.")
    if left_out:
        notes.append(f"{left_out:,} pictures are missing: the page would be too large with them.")
    return Packed(encoded, places, f"image/{kind.lower()}", notes)


def _opened(picture: Callable[[], Image.Image]) -> Image.Image | None:
    try:
        return picture().convert("RGB")
    except (OSError, ValueError, CalibError):
        return None


def _digest(image: Image.Image) -> bytes:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


def _encoded(image: Image.Image, rung: int, kind: str) -> str:
    side, quality = RUNGS[rung]
    exact = kind == "WEBP" and max(image.size) <= _SMALL and rung == 0
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    file = io.BytesIO()
    if kind == "WEBP":
        image.save(file, kind, quality=quality, method=0, lossless=exact)
    else:
        image.save(file, kind, quality=quality)
    return base64.b64encode(file.getvalue()).decode()
