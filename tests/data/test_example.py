"""Pairing, limiting, splitting and fingerprinting examples."""

import dataclasses
from collections import Counter
from functools import partial

import pytest
from PIL import Image

from calib.config.choices import Safety, Split
from calib.data.example import Example, Turn, fingerprint, pairs, words_of
from calib.data.splits import limit_examples, split_of

RED = partial(Image.new, "RGB", (4, 4), (255, 0, 0))
DEMONSTRATION = Turn("What is it?", "A dot.", RED)
BASE = Example(
    "base", "image_centric", "drawn", "fire", "train", "Use it?", RED, system="Be kind.",
    demonstrations=(DEMONSTRATION,),
)  # fmt: skip


def example(
    name: str,
    safety: Safety | None = None,
    pair: str | None = None,
    variant: str = "drawn",
    dataset: str = "image_centric",
    split: Split = "train",
) -> Example:
    return Example(name, dataset, variant, "fire", split, "Use it?", safety=safety, pair=pair)


def couples(count: int, dataset: str = "image_centric", split: Split = "train") -> list[Example]:
    return [
        example(f"{dataset}/{split}/{k}/{safety}", safety, f"{k}", dataset=dataset, split=split)
        for k in range(count)
        for safety in ("safe", "unsafe")
    ]


def ids(examples: list[Example]) -> set[str]:
    return {e.id for e in examples}


def test_twins_are_paired_within_a_variant_in_order_of_appearance() -> None:
    found = pairs(
        [
            example("u1", "unsafe", "p"),
            example("other", "safe", "q"),
            example("noisy", "safe", "p", variant="noise"),
            example("s1", "safe", "p"),
            example("s2", "safe", "p"),
            example("other twin", "unsafe", "q"),
            example("u2", "unsafe", "p"),
            example("left over", "safe", "p"),
        ]
    )
    assert [(p.id, p.safe.id, p.unsafe.id) for p in found] == [
        ("p/drawn/0", "s1", "u1"),
        ("p/drawn/1", "s2", "u2"),
        ("q/drawn/0", "other", "other twin"),
    ]


def test_what_has_no_pair_or_no_safety_is_in_no_pair() -> None:
    loose = [example("a", "safe"), example("b", "unsafe"), example("c", None, "p")]
    assert pairs([*loose, example("d", "safe", "p")]) == []


def test_no_limit_keeps_everything() -> None:
    assert limit_examples(couples(3), None) == couples(3)


def test_a_limit_holds_in_every_dataset_and_split_and_keeps_the_order() -> None:
    cells: list[tuple[str, Split]] = [
        ("image_centric", "train"),
        ("image_centric", "test"),
        ("utility", "train"),
    ]
    everything = [e for dataset, split in cells for e in couples(9, dataset, split)]
    kept = limit_examples(everything, 6)
    assert Counter((e.dataset, e.split) for e in kept) == dict.fromkeys(cells, 6)
    assert kept == [e for e in everything if e.id in ids(kept)]


def test_a_limit_draws_from_everywhere_and_not_from_the_front() -> None:
    # Literal, so that a run on another machine or next year keeps the same examples.
    assert [e.pair for e in limit_examples(couples(100), 8)[::2]] == ["28", "45", "53", "80"]


def test_twins_stay_together_also_under_an_odd_limit() -> None:
    kept = limit_examples(couples(20), 7)
    assert len(kept) == 6
    assert Counter(e.pair for e in kept) == dict.fromkeys({e.pair for e in kept}, 2)


def test_a_smaller_limit_gives_a_subset_where_pairs_differ_in_size() -> None:
    """Regression: a small pair drawn after a large one that no longer fitted was let in."""
    mixed = [
        example(f"{k}/{variant}/{copy}", "unsafe" if copy else "safe", f"{k}", variant)
        for k in range(24)
        for variant in ("original", "noise")[: 1 + k % 2]
        for copy in range(1 + k % 4)
    ]
    kept = [ids(limit_examples(mixed, limit)) for limit in range(1, len(mixed) + 1)]
    assert all(fewer <= more for fewer, more in zip(kept, kept[1:], strict=False))
    # A unit has at most four members, so no more than three places stay empty.
    assert all(limit - 3 <= len(found) <= limit for limit, found in enumerate(kept, start=1))
    assert kept[-1] == ids(mixed)


def test_variants_of_a_pair_are_kept_one_after_the_other() -> None:
    mixed = [
        example(f"{k}/{variant}", "safe", f"{k}", variant)
        for variant in ("original", "noise", "rotation")
        for k in range(8)
    ]
    kept = Counter(e.pair for e in limit_examples(mixed, 8))
    assert sorted(kept.values()) == [2, 3, 3]


def test_questions_without_a_pair_are_limited_one_by_one() -> None:
    questions = [example(f"{k}", dataset="utility") for k in range(10)]
    assert len(limit_examples(questions, 3)) == 3


BLUE = partial(Image.new, "RGB", (4, 4), (255, 0, 1))
WIDE = partial(Image.new, "RGB", (8, 2), (255, 0, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"query": "Use it!"},
        {"picture": BLUE},
        {"picture": WIDE},  # the same bytes in another shape
        {"picture": None},
        {"system": "Be kind"},
        {"system": None},
        {"demonstrations": ()},
        {"demonstrations": (DEMONSTRATION, DEMONSTRATION)},
        {"demonstrations": (Turn("What is it?", "A dot.", BLUE),)},
        {"demonstrations": (Turn("What is it?", "A dot."),)},
        {"demonstrations": (Turn("What is it?", "A spot.", RED),)},
        {"demonstrations": (Turn("What is it?A", " dot.", RED),)},
        {"begun": "You can"},
        {"query": "Use it?You can"},
    ],
)
def test_the_fingerprint_changes_with_all_that_the_model_sees(change: dict) -> None:
    assert fingerprint(dataclasses.replace(BASE, **change)) != fingerprint(BASE)


def test_what_the_model_sees_in_another_place_is_something_else() -> None:
    """The same words as query, demonstration, system prompt or beginning of the response."""
    plain = dataclasses.replace(BASE, system=None, demonstrations=())
    places = [
        {"begun": "Be kind."},
        {"begun": "Be kind. "},
        {"system": "Be kind."},
        {"query": "Be kind."},
        {"query": "Use it?Be kind."},
        {"demonstrations": (Turn("Use it?", "Be kind."),)},
        {"demonstrations": (Turn("Use it?Be kind.", ""),)},
        {},
    ]
    found = {fingerprint(dataclasses.replace(plain, **place)) for place in places}
    assert len(found) == len(places)


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
        {"answer": "It is red.", "facts": {"object": "ball"}},
        # The same pixels from elsewhere, in a mode that is converted before the model sees it.
        {"picture": partial(Image.new, "RGBA", (4, 4), (255, 0, 0, 255))},
    ],
)
def test_the_fingerprint_ignores_what_the_model_does_not_see(change: dict) -> None:
    assert fingerprint(dataclasses.replace(BASE, **change)) == fingerprint(BASE)


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    assert fingerprint(BASE)[:16] == "25f0bfb5e81d879f"


def test_splits_have_about_their_shares() -> None:
    drawn = Counter(split_of(f"key {k}", 0.6, 0.15) for k in range(10_000))
    # Three standard deviations of a binomial draw.
    assert abs(drawn["train"] - 6000) < 150
    assert abs(drawn["validation"] - 1500) < 110
    assert abs(drawn["test"] - 2500) < 130


def test_a_key_keeps_its_split_for_ever() -> None:
    keys = [f"key {k}" for k in range(16)]
    assert (
        "".join(split_of(key, 0.6, 0.15)[:2] for key in keys) == "trtrtrtrvatrvatrvatrtrvatrtetrtr"
    )


def test_more_training_data_take_nothing_away_from_training() -> None:
    keys = [f"key {k}" for k in range(500)]
    small = {key for key in keys if split_of(key, 0.3, 0.15) == "train"}
    large = {key for key in keys if split_of(key, 0.6, 0.15) == "train"}
    assert small < large


@pytest.mark.parametrize(("train", "validation"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_a_share_of_one_takes_all(train: float, validation: float) -> None:
    wanted = "train" if train else "validation" if validation else "test"
    assert {split_of(f"key {k}", train, validation) for k in range(50)} == {wanted}
