"""Drawing splits, limiting the number of examples, and the examples that count towards SRA."""

from collections import Counter

import pytest

from calib.config.choices import Safety, Split
from calib.data.example import Example
from calib.data.splits import limit_examples, select_for_sra, split_of


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


def test_without_a_limit_all_examples_are_selected() -> None:
    assert limit_examples(couples(3), None) == couples(3)


def test_a_limit_applies_per_dataset_and_split_and_preserves_the_order() -> None:
    cells: list[tuple[str, Split]] = [
        ("image_centric", "train"),
        ("image_centric", "test"),
        ("utility", "train"),
    ]
    everything = [e for dataset, split in cells for e in couples(9, dataset, split)]
    selected = limit_examples(everything, 6)
    assert Counter((e.dataset, e.split) for e in selected) == dict.fromkeys(cells, 6)
    assert selected == [e for e in everything if e.id in ids(selected)]


def test_a_limit_draws_from_all_examples() -> None:
    # Literal values: other machines and later versions must select the same examples.
    assert [e.pair for e in limit_examples(couples(100), 8)[::2]] == ["28", "45", "53", "80"]


def test_twins_stay_together_under_an_odd_limit() -> None:
    selected = limit_examples(couples(20), 7)
    assert len(selected) == 6
    assert Counter(e.pair for e in selected) == dict.fromkeys({e.pair for e in selected}, 2)


def test_a_smaller_limit_gives_a_subset_where_pairs_differ_in_size() -> None:
    """Regression: a small pair took the place of a larger pair that no longer fitted."""
    mixed = [
        example(f"{k}/{variant}/{copy}", "unsafe" if copy else "safe", f"{k}", variant)
        for k in range(24)
        for variant in ("original", "noise")[: 1 + k % 2]
        for copy in range(1 + k % 4)
    ]
    selected = [ids(limit_examples(mixed, limit)) for limit in range(1, len(mixed) + 1)]
    assert all(fewer <= more for fewer, more in zip(selected, selected[1:], strict=False))
    # A unit has at most four members, so at most three places remain empty.
    assert all(limit - 3 <= len(chosen) <= limit for limit, chosen in enumerate(selected, start=1))
    assert selected[-1] == ids(mixed)


def test_variants_of_a_pair_are_selected_in_succession() -> None:
    mixed = [
        example(f"{k}/{variant}", "safe", f"{k}", variant)
        for variant in ("original", "noise", "rotation")
        for k in range(8)
    ]
    selected = Counter(e.pair for e in limit_examples(mixed, 8))
    assert sorted(selected.values()) == [2, 3, 3]


def test_a_limit_draws_single_twins_of_a_pair_with_many() -> None:
    many = [
        example(f"{k}/{copy}/{safety}", safety, f"{k}")
        for k in range(4)
        for copy in range(10)
        for safety in ("safe", "unsafe")
    ]
    selected = limit_examples(many, 10, lambda e: e.id.rpartition("/")[0])
    assert len(selected) == 10 and len({e.pair for e in selected}) > 1
    assert Counter(e.id.rpartition("/")[0] for e in selected).most_common()[-1][1] == 2


def test_questions_without_a_pair_are_limited_individually() -> None:
    questions = [example(f"{k}", dataset="utility") for k in range(10)]
    assert len(limit_examples(questions, 3)) == 3


def test_splits_approximate_their_shares() -> None:
    drawn = Counter(split_of(f"key {k}", 0.6, 0.15) for k in range(10_000))
    # Three standard deviations of a binomial draw.
    assert abs(drawn["train"] - 6000) < 150
    assert abs(drawn["validation"] - 1500) < 110
    assert abs(drawn["test"] - 2500) < 130


def test_the_split_of_a_key_is_fixed() -> None:
    keys = [f"key {k}" for k in range(16)]
    assert (
        "".join(split_of(key, 0.6, 0.15)[:2] for key in keys) == "trtrtrtrvatrvatrvatrtrvatrtetrtr"
    )


def test_a_larger_training_share_extends_the_training_split() -> None:
    keys = [f"key {k}" for k in range(500)]
    small = {key for key in keys if split_of(key, 0.3, 0.15) == "train"}
    large = {key for key in keys if split_of(key, 0.6, 0.15) == "train"}
    assert small < large


@pytest.mark.parametrize(("train", "validation"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_a_share_of_one_selects_everything(train: float, validation: float) -> None:
    wanted = "train" if train else "validation" if validation else "test"
    assert {split_of(f"key {k}", train, validation) for k in range(50)} == {wanted}


def test_sra_counts_paired_queries_or_else_original_dual_use_pictures() -> None:
    paired = [example("a"), example("b", dataset="text_centric")]
    dual_use = [
        example("c", dataset="dual_use", variant="original"),
        example("d", dataset="dual_use"),
        example("e", dataset="dual_use", variant="noise"),
    ]
    assert select_for_sra([*dual_use, *paired]) == paired
    assert select_for_sra(dual_use) == dual_use[:2]
    assert select_for_sra([example("f", dataset="utility")]) == []
