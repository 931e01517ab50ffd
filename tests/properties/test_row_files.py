"""Rows are read as they were written; a changed byte is found; a cut file resumes to the same."""

import json

from hypothesis import assume, given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import broken_texts, json_values, names

from calib.data.example import Example
from calib.data.examples_file import read_examples, write_examples
from calib.runs.row_store import RowStore, read_rows
from calib.util.checked_lines import checked_line, read_checked_line
from calib.util.errors import CalibError


def _finite(value):
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


VALUES = json_values.filter(_finite)
RECORDS = st.builds(
    lambda response, more: {"response": response, **more},
    broken_texts,
    st.dictionaries(names, VALUES, max_size=3),
)
ROWS = st.lists(RECORDS, min_size=1, max_size=5).map(
    lambda records: [{**record, "row": f"r{k}"} for k, record in enumerate(records)]
)


@given(RECORDS)
def test_a_line_is_read_as_it_was_written(record):
    line = checked_line(record)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert read_checked_line(line[:-1]) == json.loads(json.dumps(record))


@given(RECORDS, st.integers(0, 10_000), st.integers(1, 255))
@share(5)
def test_a_changed_byte_is_found(record, position, change):
    line = bytearray(checked_line(record)[:-1])
    line[position % len(line)] ^= change
    try:
        read_checked_line(bytes(line))
    except ValueError:
        return
    raise AssertionError(bytes(line))


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
@share(2)
def test_any_line_is_an_object_or_refused(line):
    try:
        assert isinstance(read_checked_line(line), dict)
    except ValueError as error:
        assert str(error)


@given(ROWS, st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_of_a_file_is_found_or_costs_one_row(tmp_path, rows, position, change):
    path = _written(tmp_path, rows)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= change
    path.write_bytes(content)
    try:
        with RowStore.open(path) as store:
            kept = dict(store.finished)
    except CalibError as error:
        assert error.code == "invalid-content"
    else:
        # A changed line break at the end joins the last two lines.
        assert len(rows) - 2 <= len(kept) < len(rows)
        assert list(kept.values()) == json.loads(json.dumps(rows))[: len(kept)]


@given(ROWS, st.integers(0, 10_000))
def test_a_cut_file_resumes_to_the_same_rows(tmp_path, rows, length):
    path = _written(tmp_path, rows)
    whole = path.read_bytes()
    path.write_bytes(whole[: length % (len(whole) + 1)])
    with RowStore.open(path) as store:
        assert len(store.finished) == path.read_bytes().count(b"\n")
        store.append([row for row in rows if row["row"] not in store.finished])
    assert path.read_bytes() == whole
    assert list(read_rows(path)) == [row["row"] for row in rows]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.dictionaries(st.sampled_from(["row", "response", "label", "kl", "x"]),
                            st.sampled_from(["a", None, 1, True]) | json_values),
        ),
        max_size=5,
    )
)  # fmt: skip
@share(2)
def test_any_file_of_an_earlier_version_is_read_or_refused(tmp_path, lines):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b"".join(
            (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
            for line in lines
        )
    )
    try:
        rows = read_rows(path)
    except CalibError as error:
        assert error.code == "invalid-content" and str(path) in str(error)
    else:
        assert all(isinstance(row["response"], str) for row in rows.values())


def _written(folder, rows):
    path = folder / "rows.jsonl"
    path.unlink(missing_ok=True)
    with RowStore.open(path) as store:
        store.append(rows)
    return path


@given(st.lists(st.tuples(broken_texts, broken_texts, broken_texts | st.none()), max_size=4))
def test_examples_are_read_as_they_were_written(tmp_path, texts):
    assume(texts)
    examples = [
        Example(f"{k}{id_}", "text_centric", "v", "c", "test", query, system=system)
        for k, (id_, query, system) in enumerate(texts)
    ]
    write_examples(tmp_path / "examples.jsonl", examples)
    read, pictured = read_examples(tmp_path / "examples.jsonl")
    assert list(read.values()) == examples and not pictured


@given(
    st.binary(max_size=200)
    | st.lists(json_values).map(lambda v: "\n".join(map(json.dumps, v)).encode())
)
def test_any_file_of_examples_is_read_or_refused(tmp_path, content):
    path = tmp_path / "examples.jsonl"
    path.write_bytes(content)
    try:
        read_examples(path)
    except CalibError as error:
        assert str(path) in str(error)
