"""OR-Bench: which side a configuration is on, and prompts that stand in two of them."""

import pytest

FILES = ("or-bench-80k", "or-bench-hard-1k", "or-bench-toxic")


def rows(*prompts):
    return [{"prompt": prompt, "category": "hobbies"} for prompt in prompts]


@pytest.fixture
def tables():
    return {
        "or-bench-80k": rows("How to prune a rose?", "How to glue wood?", ""),
        "or-bench-hard-1k": rows("How to glue wood?"),
        "or-bench-toxic": rows("How to spoil a cake?"),
    }


def test_a_configuration_is_safe_or_unsafe_and_a_prompt_is_one_pair(tmp_path, load, write, tables):
    for name, table in tables.items():
        write(tmp_path / f"{name}.csv", table)
    bench = load("or_bench", root=tmp_path, subsets=list(FILES), train=0.5, validation=0.1)
    assert [(e.id, e.safety) for e in bench.examples] == [
        ("or-bench-80k/0", "safe"),
        ("or-bench-80k/1", "safe"),
        ("or-bench-hard-1k/0", "safe"),
        ("or-bench-toxic/0", "unsafe"),
    ]
    first, twice, again, toxic = bench.examples
    assert twice.pair == again.pair and twice.split == again.split
    assert len({first.pair, twice.pair, toxic.pair}) == 3
    assert (first.category, first.dataset, first.picture) == ("hobbies", "text_centric", None)
    assert any("more than one row: n=1" in note for note in bench.notes)
    assert any("empty 'prompt'" in note and "rows 3 (n=1)" in note for note in bench.notes)


def test_only_the_subsets_that_are_asked_for_are_read_from_the_hub(load, hub, tables):
    folder = hub({name: {"train": table} for name, table in tables.items()})
    bench = load("or_bench", hub=folder, train=0.0, validation=1.0)
    assert [e.id for e in bench.examples] == ["or-bench-hard-1k/0", "or-bench-toxic/0"]
    assert {e.split for e in bench.examples} == {"validation"}
    assert bench.notes == []


def test_an_unknown_subset_is_refused_with_the_nearest(refusal):
    assert "Did you mean 'or-bench-toxic'?" in refusal("or_bench", subsets=["or-bench-toxik"])


def test_no_subset_is_refused(refusal):
    assert "data.subsets: the list is empty" in refusal("or_bench", subsets=[])


def test_a_configuration_that_the_hub_lacks_is_refused_with_the_remedy(refusal, hub, tables):
    folder = hub({"or-bench-80k": {"train": tables["or-bench-80k"]}})
    message = refusal("or_bench", hub=folder)
    assert "or-bench-hard-1k" in message and "data.root=FOLDER" in message
