"""Results as a table: rows and columns by name, for notebooks and for pandas."""

import pandas
import pytest
from raising import raises

from calib.scoring.result_table import SHOWN, ResultTable
from calib.scoring.results import Result


@pytest.fixture
def table():
    return ResultTable(
        Result(method, 3, strength, split, "image_centric", "<b>drawn</b>", "all", metric,
               0.5, 0.4, 0.6, 20, 10, "calib")
        for method in ("none", "steer") for strength in (0.0, 1.0)
        for split in ("validation", "test") for metric in ("SRA", "SRA_u", "SRA_s")
    )  # fmt: skip


def test_rows_and_columns(table):
    chosen = table.where(metric="SRA", split="test", method=["steer", "other"])
    assert chosen["strength"] == [0.0, 1.0] and chosen["method"] == ["steer"] * 2
    assert isinstance(table[:2], ResultTable) and table[0].metric == "SRA"
    assert table.where(method="nobody") == []
    for wrong in (lambda: table["metrics"], lambda: table.where(metrics="SRA")):
        with raises("unknown-name", "metrics", "'metric'"):
            wrong()


def test_pandas(table):
    frame = table.to_pandas()
    assert list(frame.columns) == list(table.columns) and len(frame) == len(table)
    pandas.testing.assert_frame_equal(pandas.DataFrame(table), frame)
    assert list(ResultTable().to_pandas().columns) == list(table.columns)


def test_a_notebook_shows_the_first_rows_escaped(table):
    html = table._repr_html_()
    assert html.count("<tr>") == SHOWN + 1 and f"{len(table) - SHOWN} more" in html
    assert "<b>" not in html and "&lt;b&gt;drawn" in html
    assert str(len(table)) in repr(table)
