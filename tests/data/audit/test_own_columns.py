"""Pictures that lie on the sheet of a workbook, which no column names."""

from pathlib import Path

from raising import raises

from calib.data.audit.own_columns import refuse_pictures_on_sheet
from calib.data.tables import Table

ROWS = [{"query": "Use this?", "safety": "safe"}] * 6


def table(pictures, **cells):
    rows = [row | cells for row in ROWS]
    return Table(Path("a.xlsx"), rows, list(range(2, 8)), pictures=pictures)


def test_pictures_on_the_sheet_are_refused_if_queries_would_be_asked_without_them():
    with raises("unsupported", "a.xlsx", "n=6", "image"):
        refuse_pictures_on_sheet(table(6))


def test_pictures_on_the_sheet_are_noted_beside_named_ones_and_if_they_are_few():
    assert refuse_pictures_on_sheet(table(0)) == []
    for found in (table(6, image="a.png"), table(1)):
        (note,) = refuse_pictures_on_sheet(found)
        assert f"n={found.pictures}" in note
