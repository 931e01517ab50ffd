"""Splits and shards divide any examples and rows exactly, the same way on every machine."""

from collections import Counter
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import texts

from calib.config.checks import shard as check_shard
from calib.data.example import Example, pairs
from calib.data.split_levels import hold_out, split_by_level, with_query_groups
from calib.data.splits import limit_examples, split_of
from calib.runs.generate import _segments
from calib.runs.shards import Shard
from calib.util.errors import CalibError

shares = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5))
choices = st.tuples(
    st.sampled_from(["image_centric", "text_centric", "dual_use"]),
    st.sampled_from(["original", "noise"]),
    st.sampled_from(["safe", "unsafe"]),
    st.integers(0, 9),
    st.none() | st.integers(0, 3),
    st.sampled_from(["Why?", "How?", "What is it?"]),
)


def _examples(rows):
    return [
        Example(
            f"e{k}", dataset, variant, "c", split_of(f"p{pair}", 0.4, 0.3), query,
            safety=safety, pair=f"p{pair}", concept=None if concept is None else f"c{concept}",
        )
        for k, (dataset, variant, safety, pair, concept, query) in enumerate(rows)
    ]  # fmt: skip


examples = st.lists(choices, min_size=1, max_size=30).map(_examples)


@given(texts, shares)
@share(3)
def test_every_key_has_one_split(key, shares):
    split = split_of(key, *shares)
    assert split in ("train", "validation", "test") and split == split_of(key, *shares)
    assert split_of(key, 1.0, 0.0) == "train" and split_of(key, 0.0, 0.0) == "test"


@given(examples, st.sampled_from([None, "pair", "query"]), st.integers(0, 3), shares)
@share(2)
def test_a_unit_has_one_split(examples, by, seed, shares):
    examples = with_query_groups(examples)
    try:
        split = split_by_level(examples, by, seed, *shares)
    except CalibError as error:
        assert error.code == "invalid-setting" and by == "query"
        return
    assert [(e.id, e.query) for e in split] == [(e.id, e.query) for e in examples]
    of_unit = {}
    for example in split:
        units = [("pair", example.pair)]
        if by is None and example.concept is not None:
            units.append(("concept", example.concept))
        if by == "query" and example.query_group is not None:
            units.append(("query", example.query_group))
        for unit in units:
            assert of_unit.setdefault(unit, example.split) == example.split
    assert split == split_by_level(examples, by, seed, *shares)


@given(examples, st.integers(0, 12), st.integers(0, 12))
@share(2)
def test_a_smaller_limit_gives_a_subset_with_whole_pairs(examples, a, b):
    few, many = (limit_examples(examples, limit) for limit in sorted((a, b)))
    assert {e.id for e in few} <= {e.id for e in many} <= {e.id for e in examples}
    counts = Counter((e.dataset, e.split) for e in many)
    assert all(count <= max(a, b) for count in counts.values())
    members = Counter((e.dataset, e.split, e.pair, e.variant) for e in examples)
    kept = Counter((e.dataset, e.split, e.pair, e.variant) for e in many)
    assert all(kept[unit] == members[unit] for unit in kept)


@given(examples, st.floats(0, 1))
def test_pairs_that_are_held_out_share_no_cluster_with_the_others(examples, part):
    both = pairs(examples)
    fitted, held = hold_out(both, part)
    assert sorted(p.id for p in fitted + held) == sorted(p.id for p in both)
    assert {p.safe.cluster for p in fitted}.isdisjoint(p.safe.cluster for p in held)


def _row(number, prompt):
    example = Example(f"{prompt}", "d", "v", "c", "test", "x" * (prompt % 5))
    return SimpleNamespace(id=f"{number}", prompt_hash=f"{prompt}", prompt=example)


def _rows(numbers):
    """Rows of one id have one prompt."""
    prompts = 1 + max((prompt for _, prompt in numbers), default=0)
    return [_row(number, number % prompts) for number, _ in numbers]


rows = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=60).map(_rows)


@given(rows, st.integers(1, 12), st.integers(1, 40))
@share(3)
def test_shards_make_every_row_exactly_once(rows, count, least):
    segments = list(_segments(rows, least))
    made = Counter(
        row.id
        for number in range(1, count + 1)
        for k, segment in enumerate(segments)
        if Shard(number, count).has(k)
        for row in segment
    )
    assert made == dict.fromkeys({row.id for row in rows}, 1)
    # The rows of a prompt are in one segment.
    of_prompt = {}
    for k, segment in enumerate(segments):
        for row in segment:
            assert of_prompt.setdefault(row.prompt_hash, k) == k


@given(texts | st.builds("{}/{}".format, st.integers(-2, 20), st.integers(-2, 20)))
@share(3)
def test_a_shard_is_a_part_or_refused(text):
    try:
        shard = Shard.of(text)
    except CalibError as error:
        assert error.code == "invalid-setting"
    else:
        assert 1 <= shard.number <= shard.count
        assert Shard.of(str(shard)) == shard == Shard(*check_shard("shard", text))
