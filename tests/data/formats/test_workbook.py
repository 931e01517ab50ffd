"""Workbooks as people keep them: several sheets, titles, merged and hidden cells, formulas."""

import datetime
import io
import re
import zipfile

import openpyxl
import pytest
from openpyxl.drawing.image import Image as Drawing
from PIL import Image
from raising import raises

from calib.config.quoting import shell_override
from calib.data.formats import workbook
from calib.data.formats.sheet_cells import NO_RESULT, PICTURE
from calib.data.formats.workbook import read_workbook
from calib.data.own.naming import header_test
from calib.data.tables import open_table

HEADER = ["query", "safety"]
SHEET = "xl/worksheets/sheet1.xml"


def written(path, **sheets):
    """A workbook with the rows of each sheet, by its title."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return book


def changed(path, *replacements):
    """Replace bytes of the first sheet."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for old, new in replacements:
        assert old in members[SHEET]
        members[SHEET] = members[SHEET].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def is_header(names):
    return set(HEADER) <= set(names)


def read(path, sheet=None):
    return read_workbook(path, sheet, is_header, "data.sheet")


def test_the_only_sheet_with_the_columns_is_read(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, Legend=[["colour", "meaning"]], Data=[HEADER, ["a", "safe"]], Empty=[])
    found = read(path)
    assert (found.title, found.rows, found.numbers) == (
        "Data", [{"query": "a", "safety": "safe"}], [2],
    )  # fmt: skip
    (note,) = found.notes
    assert "'Legend'" in note and "'Empty'" not in note


def test_a_choice_that_is_not_clear_is_refused_with_the_sheets(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, One=[HEADER, ["a", "safe"]], Two=[HEADER, ["b", "unsafe"]])
    with raises("missing-setting", "'One'", "'Two'", "data.sheet"):
        read(path)
    assert read(path, "Two").rows[0]["query"] == "b"
    with raises("unknown-name", "'Twoo'", "'Two'"):
        read(path, "Twoo")


def test_no_setting_is_advised_where_the_caller_has_none(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, One=[HEADER, ["a", "safe"]], Two=[HEADER, ["b", "unsafe"]])
    with raises("unsupported", "'One'", "'Two'") as caught:
        open_table(path)
    assert "sheet=" not in str(caught.value)
    written(path, One=[])
    with raises("too-few", path) as caught:
        open_table(path)
    assert "sheet=" not in str(caught.value)


@pytest.mark.parametrize("sheet", ["", " "])
@pytest.mark.parametrize("name", ["a.xlsx", "a.csv"])
def test_a_blank_sheet_is_refused(tmp_path, name, sheet):
    (tmp_path / name).touch()
    with raises("invalid-setting", "data.sheet"):
        open_table(tmp_path / name, sheet, None, "data.sheet")


@pytest.mark.parametrize(
    ("rows", "suggested"),
    [
        ([["Query", "Safety"], ["a", "safe"]], "Queries"),  # close names
        ([["Prompt", "Class", "By"], ["a", "safe", "me"]], "Queries"),  # the most columns
        ([["Prompt"], ["a"]], "Notes"),  # the first of equals
    ],
)
def test_the_suggested_sheet_is_the_one_whose_columns_fit(tmp_path, rows, suggested):
    path = tmp_path / "a.xlsx"
    written(path, Notes=[["Read me", "Please"][: len(rows[0]) - 1] or ["Read me"]], Queries=rows)
    with raises("missing-setting", f"data.sheet={suggested}."):
        read_workbook(path, None, header_test({}, None), "data.sheet")


def test_a_suggested_sheet_is_quoted(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, **{"It's one": [HEADER, ["a", "safe"]], "Two": [HEADER, ["b", "safe"]]})
    with raises("missing-setting", shell_override("data.sheet", "It's one")):
        read(path)


def test_a_hidden_sheet_is_read_only_by_its_name(tmp_path):
    path = tmp_path / "a.xlsx"
    book = written(path, Old=[HEADER, ["a", "safe"]], New=[HEADER, ["b", "safe"]])
    book["Old"].sheet_state = "hidden"
    book.save(path)
    found = read(path)
    assert found.rows[0]["query"] == "b" and "'Old (hidden)'" in found.notes[0]
    assert read(path, "Old").rows[0]["query"] == "a"


def test_titles_and_empty_rows_and_columns_are_passed_over(tmp_path):
    path = tmp_path / "a.xlsx"
    rows = [["Our prompts"], [], [None, *HEADER], [], [None, "a", "safe"], [], [None, "b", "safe"]]
    written(path, Data=rows)
    found = read(path)
    assert found.numbers == [5, 7] and [row["query"] for row in found.rows] == ["a", "b"]
    assert any("row 3" in note for note in found.notes)


def test_merged_cells_count_for_each_row_and_hidden_rows_are_read(tmp_path):
    path = tmp_path / "a.xlsx"
    book = written(
        path, Data=[[*HEADER, "pair"], ["a", "safe", "x"], ["b", "unsafe"], ["c", "safe"]]
    )
    book["Data"].merge_cells("C2:C3")
    book["Data"].row_dimensions[3].hidden = True
    book.save(path)
    found = read(path)
    assert [row["pair"] for row in found.rows] == ["x", "x", None]
    assert any("C2:C3" in note for note in found.notes)
    assert any("n=1 (rows 3)" in note for note in found.notes)


def test_values_are_texts_numbers_and_truth_values(tmp_path):
    path = tmp_path / "a.xlsx"
    cells = [
        1.0,
        1.5,
        True,
        datetime.date(2026, 2, 1),
        datetime.datetime(2026, 2, 1, 8),
        "a_x000D_",
    ]
    written(path, Data=[[*HEADER, *"abcdef"], ["q", "safe", *cells]])
    row = read(path).rows[0]
    assert [row[name] for name in "abcdef"] == [
        1, 1.5, True, "2026-02-01", "2026-02-01 08:00:00", "a\r",
    ]  # fmt: skip
    assert isinstance(row["a"], int)


def test_results_of_formulas_are_read_if_they_are_stored(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, Data=[HEADER, ["=1+1", "safe"], ["=2+2", "safe"]])
    changed(path, (b"<f>1+1</f><v />", b"<f>1+1</f><v>2</v>"))
    found = read(path)
    assert [row["query"] for row in found.rows] == [2, NO_RESULT]
    assert any("n=1" in note for note in found.notes)


def test_errors_and_pictures_in_cells_are_marked(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, Data=[HEADER, [5, "safe"], [6, "safe"]])
    changed(
        path,
        (b'<c r="A2" t="n"><v>5</v>', b'<c r="A2" t="e"><v>#N/A</v>'),
        (b'<c r="A3" t="n"><v>6</v>', b'<c r="A3" t="e" vm="1"><v>#VALUE!</v>'),
    )
    assert [row["query"] for row in read(path).rows] == ["#N/A", PICTURE]


def test_pictures_on_the_sheet_are_counted(tmp_path):
    path = tmp_path / "a.xlsx"
    book = written(path, Data=[HEADER, ["a", "safe"]])
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    book["Data"].add_image(Drawing(picture), "C2")
    book.save(path)
    assert read(path).pictures == 1


def test_columns_without_a_name_and_repeated_ones(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, Data=[HEADER, ["a", "safe", "aside"]])
    found = read(path)
    assert list(found.rows[0]) == HEADER and found.notes[0].endswith(" C")
    written(path, Data=[[*HEADER, "query"], ["a", "safe", "b"]])
    with raises("unreadable", "'query'"):
        read(path)


@pytest.mark.parametrize("limit", ["MAX_ROWS", "MAX_COLUMNS", "MAX_BYTES", "MAX_MEMBERS"])
def test_a_workbook_beyond_a_limit_is_refused(tmp_path, monkeypatch, limit):
    path = tmp_path / "a.xlsx"
    written(path, Data=[HEADER, ["a", "safe"]])
    monkeypatch.setattr(workbook, limit, 1)
    with raises("too-large", path):
        read(path)


def test_a_document_type_is_refused(tmp_path):
    path = tmp_path / "a.xlsx"
    written(path, Data=[HEADER, ["a", "safe"]])
    changed(path, (b"<worksheet", b"<!DOCTYPE a><worksheet"))
    with raises("unreadable", "document type"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/styles.xml", "[Content_Types].xml"])
def test_entities_are_never_unfolded(tmp_path, part, encoding):
    path, bomb = tmp_path / "a.xlsx", tmp_path / "bomb.xlsx"
    written(path, Data=[HEADER, ["a", "safe"]])
    entities = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 9))
    declared = f'<!DOCTYPE a [<!ENTITY e0 "a">{entities}]>'
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(bomb, "w") as target:
        for member in source.namelist():
            content = source.read(member)
            if member == part:
                text = re.sub(r"^<\?xml.*?\?>\s*", "", content.decode())
                head = f'<?xml version="1.0" encoding="{encoding}"?>'
                content = f"{head}{declared}{text}".encode(encoding)
            target.writestr(member, content)
    with raises("unreadable", "document type", part):
        read(bomb)


def test_a_sheet_formatted_to_its_end_is_read(tmp_path):
    path = tmp_path / "a.xlsx"
    book = written(path, Data=[HEADER, ["a", "safe"]])
    book["Data"]["B1048576"].font = openpyxl.styles.Font(bold=True)
    book.save(path)
    assert len(read(path).rows) == 1
