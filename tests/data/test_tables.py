"""Tables of others, and what is wrong with them."""

import pytest

from calib.data.tables import check_columns, read_table, cell_text
from calib.util.errors import CalibError


def refused(path, *words: str) -> None:
    with pytest.raises(CalibError) as caught:
        read_table(path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", 'id,query\n1,"a, b"\n2,c\n'),
        ("a.csv", '\ufeffid,query\n1,"a, b"\n2,c\n'),
        ("a.tsv", "id\tquery\n1\ta, b\n2\tc\n"),
        ("a.jsonl", '{"id": "1", "query": "a, b"}\n\n{"id": "2", "query": "c"}\n'),
        ("a.json", '[{"id": "1", "query": "a, b"}, {"id": "2", "query": "c"}]'),
        ("a.json", '{"1": {"query": "a, b"}, "2": {"query": "c"}}'),
        ("A.JSON", '{"x": {"id": "1", "query": "a, b"}, "y": {"id": "2", "query": "c"}}'),
    ],
)
def test_every_kind_gives_the_same_rows(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    expected = [{"id": "1", "query": "a, b"}, {"id": "2", "query": "c"}]
    assert read_table(tmp_path / name) == expected


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"id": 1, "image": {"bytes": b"x", "path": None}}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet") == rows
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    refused(tmp_path / "b.parquet", "cannot be read as parquet")


@pytest.mark.parametrize(
    "name, data, words",
    [
        ("a.csv", b"id,query\n1,2,3\n", ["line 2 has more cells"]),
        ("a.csv", b"id\n\xff\xfe\n", ["cannot be read", "UTF-8"]),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', ["line 2 is no JSON"]),
        ("a.jsonl", b"[1]\n", ["line 1 is no JSON object"]),
        ("a.json", b"[1, 2]", ["no list of objects"]),
        ("a.json", b'{"a": 1}', ["one object per row"]),
        ("a.txt", b"hello", ["no table that calib reads", ".csv"]),
    ],
)
def test_damaged_tables(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, str(tmp_path / name), *words)


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "none.csv", "does not exist")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "is not a file")


def test_columns_are_checked():
    rows = [{"questio": "a", "answer": "b"}]
    check_columns(rows, ["answer"], "t.csv")
    with pytest.raises(CalibError) as caught:
        check_columns(rows, ["question", "answer"], "t.csv", ["hint"])
    assert str(caught.value) == (
        "t.csv has no column 'question'. Did you mean 'questio'? It needs question, answer (and "
        "may have hint); it has 'questio', 'answer'."
    )
    with pytest.raises(CalibError, match=r"t.csv has no rows. Its columns should be question"):
        check_columns([], ["question"], "t.csv")


def test_cells_as_text():
    assert cell_text({"a": "  x \n y "}, "a") == "x y"
    assert cell_text({"a": 3}, "a") == "3"
    assert cell_text({"a": None}, "a") == cell_text({}, "a") == ""
