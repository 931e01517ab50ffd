"""Any file ends in rows or in a CalibError that names it; what other programs write is read."""

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import json_values, names, texts

from calib.data.tables import ENDINGS, open_table, read_table
from calib.util.errors import CalibError

TABULAR = st.text(st.sampled_from("ab\",;\t\r\n'{}[]:\\0 1é\x00\ufeffNau"), max_size=120)
CONTENT = st.one_of(
    st.binary(max_size=300),
    TABULAR.map(str.encode),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.lists(json_values, max_size=4).map(lambda v: "\n".join(map(json.dumps, v)).encode()),
)
HEADERS = st.lists(names, min_size=2, max_size=4, unique=True)
CELLS = texts.filter(lambda text: "\x00" not in text)
VALUES = json_values.filter(lambda value: "Infinity" not in json.dumps(value))


@given(st.sampled_from(ENDINGS), CONTENT)
def test_any_file_is_read_or_refused(tmp_path, ending, content):
    path = tmp_path / f"any{ending}"
    path.write_bytes(content)
    for read in (read_table, lambda path: open_table(path).rows):
        try:
            rows = read(path)
        except CalibError as error:
            assert str(path) in str(error)
        else:
            assert all(isinstance(row, dict) for row in rows)


@given(st.data(), st.sampled_from(";\t|,"), st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_what_spreadsheet_programs_write_is_recognised(tmp_path, data, separator, encoding):
    columns = data.draw(HEADERS)
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns))))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([columns, *rows])
    path = tmp_path / "written.csv"
    path.write_text(text.getvalue(), encoding=encoding, newline="")
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    table = open_table(path)
    assert table.rows == [dict(zip(columns, row, strict=True)) for row in filled]
    assert bool(table.notes) or (separator, encoding, filled) == (",", encoding, rows)


@given(st.data(), st.sampled_from([(".csv", ","), (".tsv", "\t")]), st.sampled_from(["\n", "\r\n"]))
def test_cells_that_another_program_writes_are_read(tmp_path, data, kind, line_end):
    ending, separator = kind
    columns = data.draw(HEADERS)
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(columns), max_size=len(columns))))
    text = io.StringIO(newline="")
    # With fewer quotation marks, Python's writer leaves a lone carriage return bare.
    writer = csv.writer(text, delimiter=separator, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([columns, *rows])
    path = tmp_path / f"written{ending}"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    assert read_table(path) == [dict(zip(columns, row, strict=True)) for row in rows]


@given(HEADERS, st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=4))
def test_objects_of_json_are_read(tmp_path, columns, values):
    rows = [dict(zip(columns, row, strict=False)) for row in values]
    path = tmp_path / "written.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    expected = json.loads(json.dumps(rows), parse_constant=lambda _: None)  # NaN
    assert read_table(path) == expected
    path = tmp_path / "written.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert read_table(path) == expected


@given(st.integers(0, 10_000), st.integers(0, 255), st.lists(texts, min_size=1, max_size=5))
@share(4)
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path, position, byte, values):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "damaged.parquet"
    parquet.write_table(pyarrow.table({"query": values, "score": [math.nan] * len(values)}), path)
    content = bytearray(path.read_bytes())
    content[position % len(content)] = byte
    path.write_bytes(content)
    try:
        read_table(path)
    except CalibError as error:
        assert str(path) in str(error)
