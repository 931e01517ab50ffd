"""Reading third-party tables, and errors for damaged ones."""

import pytest
from raising import raises

from calib.data.tables import cell_prompt, cell_text, check_columns, read_table


def refused(path, code: str, *values: object) -> None:
    with raises(code, path, *values):
        read_table(path)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", 'id,query\n1,"a, b"\n2,c\n'),
        ("a.csv", '\ufeffid,query\n1,"a, b"\n2,c\n'),
        ("a.tsv", "id\tquery\n1\ta, b\n2\tc\n"),
        ("a.jsonl", '{"id": "1", "query": "a, b"}\n\n{"id": "2", "query": "c"}\n'),
        ("a.json", '[{"id": "1", "query": "a, b"}, {"id": "2", "query": "c"}]'),
        ("a.json", '{"1": {"query": "a, b"}, "2": {"query": "c"}}'),
        ("a.json", '{"id": "1", "query": "a, b"}\n{"id": "2", "query": "c"}\n'),
        ("A.JSON", '{"x": {"id": "1", "query": "a, b"}, "y": {"id": "2", "query": "c"}}'),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path, name, text):
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
    refused(tmp_path / "b.parquet", "unreadable")


@pytest.mark.parametrize(
    ("name", "data", "code", "value"),
    [
        ("a.csv", b"id,query\n1,2,3\n", "unreadable", "line 2"),
        ("a.csv", b"id\n\xff\xfe\n", "unreadable", "UTF-8"),
        ("a.csv", b"id,query\n1,a\n2\n", "unreadable", "line 3"),
        ("a.csv", b'id,query\n1,"a\n2,b\n', "unreadable", "in line 2 is"),
        ("a.csv", b'id,query\n1,"a\n2,"b"\n', "unreadable", "in line 2 is"),
        ("a.csv", b'id,query\r\n"1\r\n",a\r\n2,"b\r\n3,c\r\n', "unreadable", "in line 4 is"),
        ("a.csv", b'id,query\n1,"a ""b"""\n2,c\n3,"d\n4,"e, f"\n', "unreadable", "in line 4 is"),
        ("a.csv", b'id,query\n1,"a\nb",c\n', "unreadable", "lines 2 to 3"),
        ("a.csv", b"id,query,id\n1,a,2\n", "unreadable", "'id'"),
        ("a.csv", b"id;query\n1;a\n", "unreadable", "semicolons"),
        ("a.csv", b"id\tquery\n1\ta\n", "unreadable", ".tsv"),
        ("a.tsv", b"id,query\n1,a\n", "unreadable", ".csv"),
        ("a.csv", "id,query\n1,\xe9\n".encode("cp1252"), "unreadable", "line 2 has the byte 0xe9"),
        ("a.csv", "id,query\n1,a\n".encode("utf-16"), "unreadable", "UTF-16"),
        ("a.csv", b"id,query\n1,a\0\n", "unreadable", "zero byte"),
        ("a.csv", b"<!doctype html><html></html>", "unreadable", "HTML"),
        ("a.json", b"version https://git-lfs.github.com/spec/v1\n", "unreadable", "Git LFS"),
        ("a.csv", b"PK\x03\x04 a workbook", "unreadable", "zip archive"),
        ("a.json", b'[{"a": 1}, {"a": 2', "unreadable", "not complete"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "unreadable", "line 1, column 11"),
        ("a.json", b'{"a": 1}\n{"a": \n', "unreadable", "line 2"),
        ("a.json", b'[{"a": "\\ud800"}]', "unreadable", "ud800"),
        ("a.jsonl", b'[{"a": 1}]', "unreadable", ".json file"),
        ("a.json", b'[{"a": 1, "a": 2}]', "unreadable", "'a'"),
        ("a.json", b'{"x": {"b": 1}, "x": {"b": 2}}', "unreadable", "'x'"),
        ("a.json", b'[{"a": Infinity}]', "unreadable", "Infinity"),
        ("a.json", b"[" * 100_000, "unreadable", "JSON"),
        ("a.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", "unreadable", "JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "unreadable", "line 2"),
        ("a.jsonl", b"[1]\n", "unreadable", "line 1"),
        ("a.json", b"[1, 2]", "unreadable", "JSON"),
        ("a.json", b'{"a": 1}', "unreadable", "JSON"),
        ("a.doc", b"hello", "unsupported", ".csv"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, name, data, code, value):
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, code, value)


@pytest.mark.parametrize("data", [b"id;query\n1;a\n", b"id,query\n\xff\n", b"id,query\n1\n"])
def test_a_message_gives_one_piece_of_advice(tmp_path, data):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with raises("unreadable", path) as caught:
        read_table(path)
    assert "download it again" not in str(caught.value)


def test_a_picture_in_a_cell_may_be_long(tmp_path):
    (tmp_path / "a.tsv").write_text("id\timage\n1\t" + "A" * 300_000 + "\n", encoding="utf-8")
    assert len(read_table(tmp_path / "a.tsv")[0]["image"]) == 300_000


def test_not_a_number_is_an_empty_cell(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"query": "a", "pair": NaN}\n', encoding="utf-8")
    assert read_table(tmp_path / "a.jsonl") == [{"query": "a", "pair": None}]
    assert cell_text({"pair": float("nan")}, "pair") == ""
    assert cell_prompt({"pair": float("nan")}, "pair") == ""


def test_a_later_row_without_a_required_key_is_named():
    with raises("missing-value", "t.json", "row 2", "'answer'"):
        check_columns([{"answer": "a"}, {"other": "b"}], ["answer"], "t.json")


def test_missing_files_and_folders_are_refused(tmp_path):
    refused(tmp_path / "none.csv", "not-found")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "not-found")


def test_columns_are_checked():
    rows = [{"questio": "a", "answer": "b"}]
    check_columns(rows, ["answer"], "t.csv")
    values = ("t.csv", "'question'", "'questio'", "question, answer", "hint", "'answer'")
    with raises("missing-column", *values):
        check_columns(rows, ["question", "answer"], "t.csv", ["hint"])
    with raises("too-few", "t.csv", "question"):
        check_columns([], ["question"], "t.csv")


def test_cells_as_text():
    assert cell_text({"a": "  x \n y "}, "a") == "x y"
    assert cell_text({"a": 3}, "a") == "3"
    assert cell_text({"a": None}, "a") == cell_text({}, "a") == ""
    assert cell_prompt({"a": "  x \n y "}, "a") == "x \n y"
    assert cell_prompt({"a": None}, "a") == cell_prompt({}, "a") == ""
