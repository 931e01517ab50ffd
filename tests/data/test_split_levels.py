"""Splits that leave out queries or concepts, query groups, and what the test split shares."""

from collections import Counter
from dataclasses import replace

import pytest
from raising import raises

from calib.config.choices import Split
from calib.data.example import Example, pairs
from calib.data.split_levels import hold_out, overlap_note, split_by_level, with_query_groups


def twins(
    pair: str,
    queries: tuple[str, str],
    concept: str | None = None,
    dataset: str = "text_centric",
    split: Split = "train",
) -> list[Example]:
    return [
        Example(f"{pair}/{safety}", dataset, "text_only", "c", split, query,
                safety=safety, pair=pair, concept=concept)
        for safety, query in zip(("safe", "unsafe"), queries, strict=True)
    ]  # fmt: skip


def concepts(count: int, per: int = 3, dataset: str = "text_centric") -> list[Example]:
    return [
        example
        for k in range(count)
        for p in range(per)
        for example in twins(f"{dataset}/{k}/{p}", (f"a {k} {p}", f"b {k} {p}"), f"{k}", dataset)
    ]


def splits_of(examples: list[Example], level: str) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = {}
    for example in examples:
        splits.setdefault(getattr(example, level), set()).add(example.split)
    return splits


def test_pairs_with_the_same_query_are_a_group() -> None:
    examples = with_query_groups(
        [
            *twins("1", ("Kill a process.", "Kill a man.")),
            *twins("2", ("kill a process", "Kill a dog.")),
            *twins("3", ("Boil an egg.", "Kill a dog!")),
            *twins("4", ("Boil a potato.", "Boil a man.")),
        ]
    )
    groups = [example.query_group for example in examples]
    assert len(set(groups[:6])) == 1 and len(set(groups)) == 2
    assert examples[0].cluster == examples[5].cluster != examples[6].cluster


def test_the_request_in_a_picture_counts_where_the_query_only_refers_to_it() -> None:
    examples = [e for k in range(3) for e in twins(f"{k}", ("Fill in the list.", "Boil an egg."))]
    alike = with_query_groups(examples)
    assert len({e.query_group for e in alike}) == 1
    told = [replace(e, metadata={"request": f"request {e.id}"}) for e in examples]
    assert len({e.query_group for e in with_query_groups(told)}) == 3


def test_a_query_that_all_examples_of_a_part_share_joins_no_pairs() -> None:
    shown = [e for k in range(3) for e in twins(f"{k}", ("Use it?", "Use it?"), None, "dual_use")]
    assert {e.query_group for e in with_query_groups(shown)} == {None}
    both = with_query_groups([*shown, *twins("t", ("Boil an egg.", "Boil a man."))])
    assert [e.query_group is None for e in both] == [True] * 6 + [False] * 2


@pytest.mark.parametrize("count", [3, 4, 8, 30])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_concepts_get_their_shares_and_no_split_is_empty(count: int, seed: int) -> None:
    examples = split_by_level(concepts(count), None, seed, 0.3, 0.2)
    splits = splits_of(examples, "concept")
    assert {len(group) for group in splits.values()} == {1}
    counts = Counter("".join(group) for group in splits.values())
    for split, share in (("train", 0.3), ("validation", 0.2), ("test", 0.5)):
        assert counts[split] >= 1 and abs(counts[split] - share * count) <= 1.01


def test_a_concept_of_two_parts_is_in_one_split() -> None:
    examples = split_by_level(
        [*concepts(8), *concepts(10, dataset="dual_use")], "concept", 0, 0.3, 0.2
    )
    assert {len(group) for group in splits_of(examples, "concept").values()} == {1}
    both = {(e.dataset, e.split) for e in examples}
    assert len(both) == 6


def test_levels_from_coarse_to_fine() -> None:
    examples = with_query_groups(
        [
            e
            for k in range(40)
            for e in twins(f"{k}", (f"safe {k // 2}", f"unsafe {k}"), f"{k // 10}")
        ]
    )
    for by, level in ((None, "concept"), ("query", "query_group"), ("pair", "pair")):
        found = splits_of(split_by_level(examples, by, 1, 0.3, 0.2), level)
        assert {len(group) for group in found.values()} == {1}
    by_pair = splits_of(split_by_level(examples, "pair", 1, 0.3, 0.2), "concept")
    assert any(len(group) > 1 for group in by_pair.values())
    undeclared = [replace(e, concept=None) for e in examples]
    default = splits_of(split_by_level(undeclared, None, 0, 0.3, 0.2), "query_group")
    assert {len(group) for group in default.values()} == {1}


def test_pairs_that_share_nothing_keep_the_splits_they_were_drawn() -> None:
    examples = with_query_groups(
        [e for k in range(30) for e in twins(f"{k}", (f"safe {k}", f"unsafe {k}"), split="test")]
    )
    assert split_by_level(examples, None, 0, 0.3, 0.2) == examples
    assert split_by_level(examples, None, 1, 0.3, 0.2) != examples


def test_splits_of_the_data_are_kept_and_the_rest_of_a_concept_joins_them() -> None:
    examples = concepts(9)
    stated = {examples[0].id: "test", examples[1].id: "test"}
    drawn = split_by_level(
        [replace(e, split=stated.get(e.id, e.split)) for e in examples], None, 0, 0.3, 0.2,
        frozenset(stated),
    )  # fmt: skip
    assert {e.split for e in drawn if e.concept == "0"} == {"test"}


def test_whole_clusters_are_held_out() -> None:
    all_pairs = pairs(concepts(10, per=4))
    fitted, held = hold_out(all_pairs, 0.2)
    assert len(fitted) + len(held) == 40 and len(held) == 8
    assert not {p.safe.concept for p in fitted} & {p.safe.concept for p in held}
    assert hold_out(all_pairs, 0.0) == (all_pairs, [])
    few = pairs(concepts(2))
    assert [len(part) for part in hold_out(few, 0.9)] == [3, 3]
    assert [len(part) for part in hold_out(few, 0.01)] == [3, 3]
    assert hold_out(few[:3], 0.5) == (few[:3], [])


def test_a_level_that_nothing_declares_is_refused() -> None:
    with raises("invalid-setting", "data.split_by=concept", "cluster"):
        split_by_level(twins("1", ("a", "b")), "concept", 0, 0.3, 0.2)


def test_the_note_counts_what_train_and_test_share() -> None:
    examples = [
        *twins("1", ("a", "b"), "x"),
        *twins("2", ("A.", "c"), "x", split="test"),
        *twins("3", ("d", "e"), "y", split="test"),
    ]
    assert "1 of 4" in overlap_note(examples) and "1 of 2" in overlap_note(examples)
    assert overlap_note(examples[:2]) == ""
