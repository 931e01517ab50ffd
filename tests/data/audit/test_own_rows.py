"""Repeated rows, the text "nan" and pictures that are not shown, in the user's own table."""

from pathlib import Path

import pytest
import yaml
from raising import raises

from calib.config.prompts import FewShot, Prompting
from calib.config.schemas import CONF, GROUPS
from calib.data.audit.own_rows import (
    WITHOUT_PAIRS,
    check_row,
    no_twins_notes,
    refuse_picture_column,
    repeat_notes,
    size_note,
)
from calib.data.own.faults import Faults
from calib.data.tables import Table

PATH = Path("a.csv")


def table(rows):
    return Table(PATH, rows, list(range(1, len(rows) + 1)))


def test_rows_that_repeat_an_earlier_one_but_for_their_id():
    row = {"query": "How?", "safety": "safe"}
    rows = [row | {"id": "1"}, row | {"id": "2"}, row | {"id": "3", "safety": "unsafe"}]
    (note,) = repeat_notes(table(rows))
    assert "a.csv" in note and "1 row" in note and "(row 2)" in note
    assert repeat_notes(table(rows[1:])) == []
    (note,) = repeat_notes(table([row] * 13))
    assert "12 rows" in note and "(rows 2, " in note and "2 more)" in note


def test_queries_without_a_twin_are_named_misspelt_pairs_first():
    assert size_note(PATH, 1, []) == "a.csv: 1 query"
    unpaired = [(f"row {number}", "") for number in range(1, 9)] + [("row 9", "knfie")]
    note = size_note(PATH, 20, unpaired)
    assert "20 queries, 9 of them" in note
    assert "(row 9, pair 'knfie'; row 1; row 2; row 3; row 4; ...)" in note


@pytest.mark.parametrize("text", ["nan", " NaN ", "<NA>"])
def test_the_text_nan_is_refused_in_texts_and_ids(text):
    faults = Faults(PATH)
    check_row(table([{"query": "What is nan?", "category": text, "pair": None}]), 0, faults)
    assert not faults.found
    for column in ("query", "pair"):
        check_row(table([{}, {column: text}]), 1, faults)
        with raises("invalid-value", "a.csv, row 2", f"'{column}'", text.strip()):
            raise faults.found[-1]


def test_without_twins_a_note_says_what_works():
    assert no_twins_notes(PATH, 8, 7) == no_twins_notes(PATH, 0, 0) == []
    (note,) = no_twins_notes(PATH, 8, 8)
    assert "reminder" in note and "method.direction=FILE" in note


def test_the_methods_without_pairs_are_the_prompts_that_are_fitted_to_nothing():
    named = set()
    for path in (CONF / "method").glob("*.yaml"):
        defaults = yaml.safe_load(path.read_text(encoding="utf-8"))["defaults"]
        schemas = [value for entry in defaults if isinstance(entry, dict)
                   for key, value in entry.items() if "schema" in key]  # fmt: skip
        kinds = [GROUPS["method"][schema] for schema in schemas]
        if any(issubclass(kind, Prompting) and kind is not FewShot for kind in kinds):
            named.add(path.stem)
    assert named == set(WITHOUT_PAIRS)


def test_a_column_of_pictures_that_is_not_read_is_refused():
    rows = [{"query": "How?", "file": "a.PNG"}, {"query": "How?", "file": None}]
    with raises("unknown-name", "a.csv", "'file'", "'image'"):
        refuse_picture_column(PATH, rows, ["file"])
    refuse_picture_column(PATH, [*rows, {"file": "none"}], ["file"])
    refuse_picture_column(PATH, [{"file": None}], ["file"])
