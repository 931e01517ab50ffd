"""OR-Bench: the safety of each subset, and prompts that occur in two subsets."""

import pytest

from calib.data.published import or_bench

FILES = ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")


def rows(*prompts):
    return [{"prompt": prompt, "category": "hobbies"} for prompt in prompts]


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.setattr(or_bench, "ROWS", {"or-bench-hard-1k": 1, "or-bench-toxic": 1})
    return {
        "or-bench-80k": rows("How to prune a rose?", "How to glue wood?", ""),
        "or-bench-hard-1k": rows("How to glue wood?"),
        "or-bench-toxic": rows("How to spoil a cake?"),
    }


def test_a_subset_is_safe_or_unsafe_and_a_prompt_is_one_pair(tmp_path, load, write, tables):
    for name, table in tables.items():
        write(tmp_path / f"{name}.csv", table)
    benchmark = load("or_bench", root=tmp_path, subsets=list(FILES), train=0.5, validation=0.1)
    assert [(e.id, e.safety) for e in benchmark.examples] == [
        ("or-bench-80k/0", "safe"),
        ("or-bench-80k/1", "safe"),
        ("or-bench-hard-1k/0", "safe"),
        ("or-bench-toxic/0", "unsafe"),
    ]
    first, second, copy, toxic = benchmark.examples
    assert second.pair == copy.pair and second.split == copy.split
    assert len({first.pair, second.pair, toxic.pair}) == 3
    assert (first.category, first.dataset, first.picture) == ("hobbies", "text_centric", None)
    skipped, repeated = benchmark.notes
    assert "'prompt'" in skipped and "rows 3 (n=1)" in skipped
    assert "n=1" in repeated and "or-bench-hard-1k/0" in repeated


def test_only_the_selected_subsets_are_read_from_the_hub(load, hub, tables):
    folder = hub({name: {"train": table} for name, table in tables.items()})
    benchmark = load("or_bench", hub=folder, train=0.0, validation=1.0)
    assert [e.id for e in benchmark.examples] == ["or-bench-hard-1k/0", "or-bench-toxic/0"]
    assert {e.split for e in benchmark.examples} == {"validation"}
    assert benchmark.notes == []


def test_an_unknown_subset_is_reported_with_the_nearest(refused):
    values = ("data.subsets", "'or-bench-toxik'", "'or-bench-toxic'?")
    refused("or_bench", "invalid-setting", *values, subsets=["or-bench-toxik"])


def test_an_empty_list_of_subsets_is_refused(refused):
    refused("or_bench", "invalid-setting", "data.subsets", subsets=[])


def test_a_subset_that_the_hub_lacks_is_refused(refused, hub, tables):
    folder = hub({"or-bench-80k": {"train": tables["or-bench-80k"]}})
    refused("or_bench", "endpoint", "or-bench-hard-1k", "data.root=FOLDER", hub=folder)
