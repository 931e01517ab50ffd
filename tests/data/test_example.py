"""Pairing and fingerprinting examples."""

import dataclasses
from functools import partial

import pytest
from PIL import Image

from calib.config.choices import Safety
from calib.data.example import Example, Turn, fingerprint, pairs, with_pictures, words_of

RED = partial(Image.new, "RGB", (4, 4), (255, 0, 0))
DEMONSTRATION = Turn("What is it?", "A dot.", RED)
BASE = Example(
    "base", "image_centric", "drawn", "fire", "train", "Use it?", RED, system="Be kind.",
    demonstrations=(DEMONSTRATION,),
)  # fmt: skip


def example(
    name: str, safety: Safety | None = None, pair: str | None = None, variant: str = "drawn"
) -> Example:
    return Example(
        name, "image_centric", variant, "fire", "train", "Use it?", safety=safety, pair=pair
    )


def test_twins_are_paired_within_a_variant_in_order_of_appearance() -> None:
    matched = pairs(
        [
            example("u1", "unsafe", "p"),
            example("other", "safe", "q"),
            example("noisy", "safe", "p", variant="noise"),
            example("s1", "safe", "p"),
            example("s2", "safe", "p"),
            example("other twin", "unsafe", "q"),
            example("u2", "unsafe", "p"),
            example("surplus", "safe", "p"),
        ]
    )
    assert [(p.id, p.safe.id, p.unsafe.id) for p in matched] == [
        ("p/drawn/0", "s1", "u1"),
        ("p/drawn/1", "s2", "u2"),
        ("q/drawn/0", "other", "other twin"),
    ]


def test_examples_without_pair_id_or_safety_are_not_paired() -> None:
    loose = [example("a", "safe"), example("b", "unsafe"), example("c", None, "p")]
    assert pairs([*loose, example("d", "safe", "p")]) == []


BLUE = partial(Image.new, "RGB", (4, 4), (255, 0, 1))
WIDE = partial(Image.new, "RGB", (8, 2), (255, 0, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"query": "Use it!"},
        {"picture": BLUE},
        {"picture": WIDE},  # the same bytes in another shape
        {"picture": None},
        {"more_pictures": (RED,)},
        {"more_pictures": (RED, BLUE)},
        {"more_pictures": (BLUE, RED)},
        {"system": "Be kind"},
        {"system": None},
        {"demonstrations": ()},
        {"demonstrations": (DEMONSTRATION, DEMONSTRATION)},
        {"demonstrations": (Turn("What is it?", "A dot.", BLUE),)},
        {"demonstrations": (Turn("What is it?", "A dot."),)},
        {"demonstrations": (Turn("What is it?", "A spot.", RED),)},
        {"demonstrations": (Turn("What is it?A", " dot.", RED),)},
        {"response_prefix": "You can"},
        {"query": "Use it?You can"},
    ],
)
def test_the_fingerprint_depends_on_the_whole_input(change: dict) -> None:
    assert fingerprint(dataclasses.replace(BASE, **change)) != fingerprint(BASE)


def test_the_fingerprint_depends_on_the_order_of_pictures() -> None:
    several = [with_pictures(BASE, order) for order in ((RED, BLUE), (BLUE, RED), (RED, RED))]
    assert len({fingerprint(example) for example in several}) == 3
    moved = [
        dataclasses.replace(
            with_pictures(BASE, [RED] * (3 - k)),
            demonstrations=(Turn("What is it?", "A dot.", RED, (RED,) * k),),
        )
        for k in range(3)
    ]
    assert len({fingerprint(example) for example in moved}) == 3


def test_all_pictures_of_an_example_are_replaced() -> None:
    several = with_pictures(BASE, [RED, BLUE])
    assert several.pictures == (RED, BLUE) and BASE.pictures == (RED,)
    assert with_pictures(several, [WIDE]).pictures == (WIDE,)
    assert with_pictures(several, []).pictures == ()
    with pytest.raises(AssertionError):
        dataclasses.replace(several, picture=None)


def test_the_fingerprint_depends_on_the_role_of_the_text() -> None:
    """The same words as query, demonstration, system prompt or beginning of the response."""
    plain = dataclasses.replace(BASE, system=None, demonstrations=())
    changes = [
        {"response_prefix": "Be kind."},
        {"response_prefix": "Be kind. "},
        {"system": "Be kind."},
        {"query": "Be kind."},
        {"query": "Use it?Be kind."},
        {"demonstrations": (Turn("Use it?", "Be kind."),)},
        {"demonstrations": (Turn("Use it?Be kind.", ""),)},
        {},
    ]
    fingerprints = {fingerprint(dataclasses.replace(plain, **change)) for change in changes}
    assert len(fingerprints) == len(changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Yes, it is.", ["yes", "it", "is"]),
        ("  **YES**", ["yes"]),
        ("r\u00e9sum\u00e9 2-3", ["r\u00e9sum\u00e9", "2", "3"]),
        ("...", []),
        ("", []),
    ],
)
def test_words_without_case_and_punctuation(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"split": "test"},
        {"category": "blades"},
        {"safety": "unsafe", "pair": "p"},
        {"answer": "It is red.", "metadata": {"object": "ball"}},
        # The same pixels from another function, in a mode that is converted for the model.
        {"picture": partial(Image.new, "RGBA", (4, 4), (255, 0, 0, 255))},
    ],
)
def test_the_fingerprint_ignores_everything_else(change: dict) -> None:
    assert fingerprint(dataclasses.replace(BASE, **change)) == fingerprint(BASE)


def test_the_former_name_of_metadata_warns() -> None:
    annotated = dataclasses.replace(BASE, metadata={"object": "ball"})
    with pytest.warns(DeprecationWarning):
        assert annotated.facts == {"object": "ball"}


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    assert fingerprint(BASE)[:16] == "25f0bfb5e81d879f"
