"""The user's own names of columns and labels: data.columns and data.labels."""

import csv
import json

import openpyxl
import pytest
from raising import raises

from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark

COLUMNS = {"query": "Prompt", "safety": "Harmful?", "pair": "Fall Nr."}
LABELS = {"yes": "unsafe", "no": "safe"}
ROWS = [
    {"Prompt": "How do I mend a lamp?", "Harmful?": "no", "Fall Nr.": "1", "query": "x"},
    {"Prompt": "How do I break a lock?", "Harmful?": "Yes", "Fall Nr.": "1", "query": "y"},
]
ENDINGS = [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx"]


def written(folder, ending=".csv", rows=ROWS):
    path = folder / f"own{ending}"
    if ending in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter="," if ending == ".csv" else "\t"
            )
            writer.writeheader()
            writer.writerows(rows)
    elif ending == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif ending == ".xlsx":
        book = openpyxl.Workbook()
        for line in [list(rows[0]), *(list(row.values()) for row in rows)]:
            book.active.append(line)
        book.save(path)
    else:
        lines = json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows))
        path.write_text(lines, encoding="utf-8")
    return path


def load(path, **settings):
    return load_benchmark(PairsData(file=str(path), **settings))


@pytest.mark.parametrize("ending", ENDINGS)
def test_own_names_in_every_format(tmp_path, ending):
    loaded = load(written(tmp_path, ending), columns=COLUMNS, labels=LABELS)
    assert [(e.query, e.safety, e.pair) for e in loaded.examples] == [
        ("How do I mend a lamp?", "safe", "pairs/1"),
        ("How do I break a lock?", "unsafe", "pairs/1"),
    ]
    assert any("'query'" in note for note in loaded.notes)  # replaced by Prompt


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        ({"true": "unsafe", "false": "safe"}, ["FALSE", "TRUE"]),
        ({True: "unsafe", False: "safe"}, ["false", "True "]),
        ({1: "unsafe", 0: "safe"}, ["0", "1.0"]),
        ({"unsafe": ["oui, peut-être", "oui"], "safe": "non"}, ["NON", "oui,  peut-être"]),
        ({"unsafe": "safe", "safe": "unsafe"}, ["unsafe", "safe"]),
        ({"x": "unsafe"}, ["safe", "x"]),
    ],
)
def test_labels(tmp_path, labels, cells):
    rows = [{**row, "Harmful?": cell} for row, cell in zip(ROWS, cells, strict=True)]
    examples = load(written(tmp_path, rows=rows), columns=COLUMNS, labels=labels).examples
    assert [example.safety for example in examples] == ["safe", "unsafe"]


def test_words_without_a_meaning_are_counted_and_located(tmp_path):
    rows = [{**ROWS[0], "Harmful?": word} for word in ("no", "maybe", "", "maybe")]
    values = ("'Harmful?'", "'maybe' in 2 rows (row 2, 4)", "'' in 1 row (row 3)", "data.labels")
    with raises("invalid-value", *values):
        load(written(tmp_path, rows=rows), columns=COLUMNS, labels=LABELS)


def test_a_label_that_no_row_has_is_noted(tmp_path):
    loaded = load(written(tmp_path), columns=COLUMNS, labels=LABELS | {"maybe": "unsafe"})
    assert any("'maybe'" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("columns", "code", "values"),
    [
        ({"query": "Promt"}, "missing-column", ("'Promt'", "'Prompt'")),
        ({"qery": "Prompt"}, "unknown-name", ("'qery'", "'query'")),
        ({"query": "Prompt", "request": "Prompt"}, "conflicting-settings", ("'Prompt'",)),
    ],
)
def test_names_that_do_not_fit_the_table_are_refused(tmp_path, columns, code, values):
    with raises(code, "data.columns", *values):
        load(written(tmp_path), columns=COLUMNS | columns, labels=LABELS)


def test_errors_have_the_users_names(tmp_path):
    path = written(tmp_path, rows=[{**ROWS[0], "Prompt": " "}, ROWS[1]])
    with raises("missing-value", "row 1", "'Prompt'"):
        load(path, columns=COLUMNS, labels=LABELS)


@pytest.mark.parametrize("header", ["Harmful?", "safty", "Label"])
def test_an_error_says_how_to_map_the_column(tmp_path, header):
    path = written(tmp_path, rows=[{"query": "How?", header: "safe"}])
    if header == "Harmful?":  # resembles nothing
        with raises("missing-column", "'Harmful?'", "data.columns={safety: NAME}"):
            load(path)
        return
    with raises("missing-column", f"your column '{header}'".capitalize()[:4], header, "'safety'",
                f"data.columns={{safety: {header}}}"):  # fmt: skip
        load(path)


@pytest.mark.parametrize("setting", ["sheet", "columns", "labels"])
def test_a_folder_has_no_settings_of_tables(tmp_path, setting):
    value = "Data" if setting == "sheet" else {"query": "safe"}
    settings = {setting: value if setting != "labels" else LABELS}
    with raises("conflicting-settings", f"data.{setting}"):
        load(tmp_path, query="How?", **settings)


def test_labels_of_twins_in_a_row_are_refused(tmp_path):
    path = written(tmp_path, rows=[{"safe_query": "a", "unsafe_query": "b"}])
    with raises("conflicting-settings", "data.labels"):
        load(path, labels=LABELS)


def test_a_sheet_of_another_format_is_refused(tmp_path):
    with raises("conflicting-settings", "'Data'"):
        load(written(tmp_path), columns=COLUMNS, labels=LABELS, sheet="Data")


@pytest.mark.parametrize(
    ("key", "value"),
    [("columns", ["query"]), ("columns", {"query": None}), ("labels", {"yes": "bad"}),
     ("labels", {}), ("labels", {"unsafe": [["x"]]}), ("labels", "yes")],
)  # fmt: skip
def test_settings_that_are_no_tables_of_words_are_refused(key, value):
    with raises("invalid-setting", f"data.{key}"):
        PairsData(**{key: value})


def test_a_word_with_two_meanings_is_refused():
    with raises("conflicting-settings", "data.labels", "'YES'"):
        PairsData(labels={"yes": "unsafe", "YES": "safe"})


def test_a_cell_with_an_error_of_a_spreadsheet_is_refused_where_it_is_read(tmp_path):
    rows = [{**ROWS[0], "aside": "#REF!"}, {**ROWS[1], "Prompt": "#N/A"}]
    with raises("invalid-value", "row 2", "'Prompt'", "#N/A"):
        load(written(tmp_path, rows=rows), columns=COLUMNS, labels=LABELS)


def test_the_first_fault_is_raised_with_the_number_of_the_others(tmp_path):
    rows = [{**ROWS[0], "Prompt": ""}, {**ROWS[1], "Prompt": ""}, ROWS[1]]
    with raises("missing-value", "row 1", "1 more", "calib.pairs"):
        load(written(tmp_path, rows=rows), columns=COLUMNS, labels=LABELS)
