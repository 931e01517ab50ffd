"""Notes on the rows of a published set: a number that differs from the publication, and repeats."""

from collections.abc import Sequence
from typing import Any

from calib.data.audit.pictures import first_copies
from calib.data.example import Example
from calib.data.images import PictureBytes, PictureFile


def size_note(found: int, published: int | None, where: str, unit: str = "rows") -> list[str]:
    """A note if a table does not have as many rows as the publication; ``published`` is None for a
    table whose number is not known."""
    if published is None or found == published:
        return []
    return [
        f"{where}: {found:,} {unit}; the published set has {published:,}. Check that the download "
        "is complete, and that it is the version that you mean."
    ]


def repeat_note(examples: Sequence[Example], name: str) -> list[str]:
    """A note on the examples that ask what an earlier example asks: the same text about the same
    picture, in the same variant and with the same label or answer."""
    seen: set[tuple[Any, ...]] = set()
    repeats: list[Example] = []
    pictures = _content(examples)
    for example in examples:
        content = _text(example) + (pictures.get(example.id),)
        if content in seen:
            repeats.append(example)
        seen.add(content)
    if not repeats:
        return []
    return [
        f"{name}: examples that repeat an earlier one, text and picture: n={len(repeats)} (first: "
        f"{repeats[0].id}). Each is asked and counted."
    ]


def _text(example: Example) -> tuple[Any, ...]:
    return (
        *(example.dataset, example.variant, example.query, example.metadata.get("request")),
        *(example.safety, example.answer),
    )


def _content(examples: Sequence[Example]) -> dict[str, Any]:
    """The content of each example's pictures, by the id of the example: its pair, which has the
    same ones in a variant, or else the first copy of each picture.

    Only pictures that are asked about in the same words are compared.
    """
    by_text: dict[tuple[Any, ...], list[Example]] = {}
    for example in examples:
        if example.pictures:
            by_text.setdefault(_text(example), []).append(example)
    content: dict[str, Any] = {}
    for group in by_text.values():
        unpaired = [
            shown for example in group if example.pair is None for shown in example.pictures
        ]
        stored = [shown for shown in unpaired if isinstance(shown, PictureFile | PictureBytes)]
        firsts: dict[Any, Any] = {**first_copies(stored)} if len(stored) > 1 else {}
        for example in group:
            copies = tuple(firsts.get(shown, shown) for shown in example.pictures)
            content[example.id] = example.pair or copies
    return content
