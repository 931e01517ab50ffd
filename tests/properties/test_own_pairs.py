"""Any table of pairs ends in examples or in a CalibError, whatever the order of its rows."""

import json

from hypothesis import given
from hypothesis import strategies as st
from property_strategies import broken_texts, deep, json_values, texts

from calib.config.data import PairsData
from calib.data.audit.own_columns import OPTIONAL, TWIN_COLUMNS
from calib.data.benchmarks import load_benchmark
from calib.data.own_pairs import load
from calib.util.errors import CalibError

COLUMNS = ("query", "safety", *OPTIONAL, *TWIN_COLUMNS[:4], "image2", "safe", "messages", "other")
CELLS = st.one_of(
    st.sampled_from(
        [
            *("safe", "unsafe", "SAFE ", "", "nan", "train", "test", "image_centric", "0", "a.png"),
            *("../a.png", "/etc/passwd", "data:image/png;base64,AAAA", "x" * 300, "[]", "[1]"),
            *('{"path": "a.png"}', '[["a", "b"]]', '[{"role": "user", "content": "a"}]'),
            json.dumps(deep(400)),
        ]
    ),
    texts,
)
VALUES = st.one_of(CELLS, json_values, st.sampled_from([deep(300), deep(300, "path")]))
ROWS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), VALUES), max_size=4)


@given(ROWS, st.lists(st.sampled_from(COLUMNS), unique=True), st.none() | texts)
def test_any_table_of_pairs_is_read_or_refused(tmp_path, rows, columns, query):
    path = tmp_path / "any.json"
    # Every row has the columns, so that more than the first check is reached.
    usual = {"query": "Why?", "safety": "safe"} | dict.fromkeys(columns, "")
    path.write_text(json.dumps([{**usual, **row} for row in rows]), encoding="utf-8")
    try:
        load_benchmark(PairsData(file=str(path), query=query))
    except CalibError as error:
        assert str(error)


IDS = st.lists(st.text("abcdefgh12", min_size=1, max_size=4), min_size=4, max_size=20, unique=True)
QUERIES = texts.filter(lambda text: text.strip() and text.strip() not in ("nan", "NaN", "<NA>"))


@given(IDS, st.data(), st.randoms(use_true_random=False))
def test_twins_share_a_split_that_does_not_depend_on_the_order(tmp_path, ids, data, random):
    rows = [
        {"id": id_, "pair": ids[k // 2], "safety": ("safe", "unsafe")[k % 2],
         "query": data.draw(QUERIES)}
        for k, id_ in enumerate(ids)
    ]  # fmt: skip
    path = tmp_path / "pairs.json"

    def examples():
        path.write_text(json.dumps(rows), encoding="utf-8")
        return {example.id: example for example in load(PairsData(file=str(path))).examples}

    loaded = examples()
    assert len(loaded) == len(rows)
    assert {e.id: e.query for e in loaded.values()} == {
        f"pairs/{row['id']}": row["query"].strip() for row in rows
    }
    splits = {}
    for example in loaded.values():
        assert splits.setdefault(example.pair, example.split) == example.split
    random.shuffle(rows)
    assert examples() == loaded


@given(broken_texts)
def test_any_path_is_a_file_or_refused(path):
    try:
        load(PairsData(file=path))
    except CalibError as error:
        assert str(error)
