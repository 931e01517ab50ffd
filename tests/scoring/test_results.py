"""The results file: writing, reading, and hostile or broken content."""

import math
from dataclasses import replace

import pytest
from raising import raises

from calib.scoring.results import (
    BASELINE,
    COLUMNS,
    Result,
    RunResults,
    read_results,
    rounded,
    write_results,
)

RESULT = Result(
    "steer", 3, -1.5, "test", "all", "all", "all", "SRA", 2 / 3, 0.5, 0.75, 9, 4, "calib"
)


def test_the_results_file_is_plain_and_byte_stable(tmp_path) -> None:
    path = tmp_path / "new" / "results.csv"
    baseline = replace(RESULT, method=BASELINE, layer=None, strength=-0.0, value=-1e-9)
    write_results(path, "run 1", "mini", [RESULT, replace(baseline, low=math.nan)])
    assert path.read_bytes() == (
        b"run,model,method,layer,strength,split,dataset,variant,category,metric,value,low,high,n,"
        b"clusters,mapping\n"
        b"run 1,mini,steer,3,-1.5,test,all,all,all,SRA,0.666667,0.500000,0.750000,9,4,calib\n"
        b"run 1,mini,none,,0.0,test,all,all,all,SRA,0.000000,,0.750000,9,4,calib\n"
    )
    assert [file.name for file in path.parent.iterdir()] == ["results.csv"]


def test_results_survive_a_round_trip(tmp_path) -> None:
    path = tmp_path / "results.csv"
    exact = replace(RESULT, value=0.5, category='a "b", c\nd', variant="e\rf")
    write_results(path, "r", "m", [exact])
    assert read_results(path) == [RunResults("r", "m", [exact])]


def test_a_file_without_the_last_columns_is_read_and_known_to_be_of_the_earlier_mapping(
    tmp_path,
) -> None:
    path = tmp_path / "results.csv"
    exact = replace(RESULT, value=0.5)
    write_results(path, "r", "m", [exact])
    assert read_results(path)[0].names_mapping
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line.rsplit(",", 2)[0] for line in lines), encoding="utf-8")
    (table,) = read_results(path)
    assert table.results == [replace(exact, clusters=None, mapping="")]
    assert not table.names_mapping


def test_no_escape_sequence_is_in_the_file_and_memory_agrees_with_it(tmp_path) -> None:
    path = tmp_path / "results.csv"
    results = [replace(RESULT, category="\x1b[2J\x9b red", dataset="a\x00", variant="two\tlines\n")]
    write_results(path, "r\x1b", "m", results)
    assert not set(path.read_text(encoding="utf-8")) & set("\x1b\x9b\x00")
    assert read_results(path) == [RunResults("r\\x1b", "m", rounded(results))]


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "＝1", "'=x"])
def test_names_that_a_spreadsheet_would_execute_are_escaped(tmp_path, name) -> None:
    path = tmp_path / "results.csv"
    write_results(path, "r", name, [replace(RESULT, category=name)])
    assert read_results(path) == [
        RunResults("r", name, [replace(RESULT, category=name, value=0.666667)])
    ]
    cell = path.read_text(encoding="utf-8").splitlines()[1].split(",")[1].strip('"')
    assert cell[0] not in "=+-@"


def test_runs_in_a_joined_file_are_separate(tmp_path) -> None:
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    write_results(first, "a", "m", [RESULT])
    write_results(second, "b", "m", [RESULT])
    rows = second.read_text(encoding="utf-8").split("\n", 1)[1]
    first.write_text("\ufeff" + first.read_text(encoding="utf-8") + rows, encoding="utf-8")
    assert [(entry.run, len(entry.results)) for entry in read_results(first)] == [
        ("a", 1),
        ("b", 1),
    ]


@pytest.mark.parametrize(
    ("content", "code", "values"),
    [
        (None, "unreadable", []),
        ("", "missing-column", COLUMNS),
        (",".join(c for c in COLUMNS if c != "low") + "\n", "missing-column", ["column low"]),
        (
            ",".join(COLUMNS) + "\nr,m,steer,3,1,test,all,all,all,SRA,much,0,1,9\n",
            "invalid-value",
            ["line 2", "column value", "'much'"],
        ),
        (
            ",".join(COLUMNS) + "\nr,m,steer,x,1,test,all,all,all,SRA,0,0,1,9\n",
            "invalid-value",
            ["line 2", "column layer", "'x'"],
        ),
    ],
)
def test_a_bad_results_file_is_refused(tmp_path, content, code, values) -> None:
    path = tmp_path / "results.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with raises(code, path, *values):
        read_results(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with raises("unwritable", tmp_path / "file"):
        write_results(tmp_path / "file" / "results.csv", "r", "m", [RESULT])
