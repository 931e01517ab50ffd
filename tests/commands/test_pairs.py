"""calib.pairs: faults, counts, the template; and a spreadsheet up to its recommendation."""

import csv
import re
import shlex

import openpyxl
import pytest
from example_spreadsheets import FOLDER, as_csv, write_workbook
from in_process import command, undrawn
from shown_commands import ROOT, blocks, commands_in

from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark
from calib.data.own.template import COLUMNS, EXAMPLES
from calib.runs.run import Run

OWN = (
    'data.columns={query: Prompt, image: "Image file", safety: "Harmful?", pair: Nr, '
    "category: Topic}",
    "data.labels={yes: unsafe, no: safe}",
)


def test_every_fault_is_listed_with_its_row(tmp_path):
    path = tmp_path / "own.csv"
    rows = [
        ("1", "safe", "How?", "", "train"),
        ("1", "maybe", "How?", "", ""),
        ("2", "safe", " ", "", ""),
        ("3", "unsafe", "Why?", "none.png", ""),
        ("4", "unsafe", "Why?", "../a.png", "dev"),
        ("5", "unsafe", "#N/A", "", "tset"),
        ("6", "unsafe", "Who?", "", "tset"),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("pair", "safety", "query", "image", "split"), *rows])
    done = command("pairs", f"check={path}")
    assert done.code == 2 and "[invalid-content]" in done.stderr and "6 faults" in done.stderr
    faults = [line for line in done.stdout.splitlines() if line.startswith("- ")]
    for number, value in {2: "maybe", 3: "'query'", 4: "none.png", 5: "../a.png", 6: "#N/A",
                          7: "tset"}.items():  # fmt: skip
        assert sum(value in fault and f"row {number}" in fault for fault in faults) == 1, value


def test_counts_and_what_works(tmp_path):
    done = command("pairs", f"check={FOLDER / 'pairs.csv'}")
    assert done.code == 0, done.stderr
    counts = dict(re.findall(r"^(\w+) +([0-9 ]+)$", done.stdout, re.MULTILINE))
    assert counts["image_centric"].split()[:3] == ["24"] * 3
    assert sum(int(counts[s].split()[2]) for s in ("train", "validation", "test")) == 48
    path = tmp_path / "queries.csv"
    path.write_text(
        "safety,query\n" + "".join(f"safe,What is {k}?\n" for k in range(40)), encoding="utf-8"
    )
    done = command("pairs", f"check={path}")
    assert done.code == 0 and "method.direction=FILE" in done.stdout and "'pair'" in done.stdout


def test_labels_that_hydra_cannot_read_as_keys(tmp_path):
    path = tmp_path / "prompts.csv"
    rows = "".join(f"{k};{word};Wie {k}?\n" for k in range(9) for word in ("gefährlich", "harmlos"))
    path.write_bytes(("pair;safety;query\n" + rows).encode("cp1252"))
    done = command("pairs", f"check={path}", 'data.labels={unsafe: ["gefährlich"], safe: harmlos}')
    assert done.code == 0 and "No faults" in done.stdout, done.stderr
    done = command("pairs", f"check={path}", "data.labels={gefährlich: unsafe, harmlos: safe}")
    assert done.code == 2 and 'data.labels={unsafe: ["' in done.stderr
    done = command("pairs", f"check={path}")
    assert done.code == 2 and 'data.labels={unsafe: ["' in done.stdout


def test_the_template_is_a_table_of_pairs(tmp_path):
    folder = tmp_path / "new"
    assert command("pairs", f"new={folder}").code == 0
    for name in ("pairs.csv", "pairs.xlsx"):
        done = command("pairs", f"check={folder / name}")
        assert done.code == 0 and "has 1 independent cluster," in done.stdout
        examples = load_benchmark(PairsData(file=str(folder / name))).examples
        assert [(e.safety, e.query) for e in examples] == [row[1:3] for row in EXAMPLES]
    book = openpyxl.load_workbook(folder / "pairs.xlsx")
    (choice,) = book["pairs"].data_validations.dataValidation
    column = list(COLUMNS).index("safety") + 1
    assert choice.formula1 == '"safe,unsafe"' and {
        cells.min_col for cells in choice.sqref.ranges
    } == {column}
    again = command("pairs", f"new={folder}")
    assert again.code == 2 and "[already-exists]" in again.stderr


def test_a_folder_with_a_table_is_refused_with_the_path_of_the_table(tmp_path):
    folder = tmp_path / "new"
    assert command("pairs", f"new={folder}").code == 0
    done = command("pairs", f"check={folder}")
    assert done.code == 2 and "[missing-setting]" in done.stderr
    assert f"data.file={folder / 'pairs.csv'}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], "missing-setting"),
        (["check=a.csv", "new=b"], "conflicting-settings"),
        (["check=a.csv", "data.file=b.csv"], "conflicting-settings"),
        (["check=a.csv", "data=mini"], "unsupported"),
        (["check=none.csv"], "not-found"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments, code):
    done = command("pairs", *arguments)
    assert done.code == 2 and f"[{code}]" in done.stderr


def test_the_example_spreadsheets_are_the_example_pairs(tmp_path):
    plain = load_benchmark(PairsData(file=str(FOLDER / "pairs.csv"))).examples
    columns = {"query": "Prompt", "image": "Image file", "safety": "Harmful?", "pair": "Nr",
               "category": "Topic"}  # fmt: skip
    for name in ("prompts.csv", "prompts.xlsx"):
        settings = {"columns": columns, "labels": {"yes": "unsafe", "no": "safe"}}
        loaded = load_benchmark(PairsData(file=str(FOLDER / name), **settings))
        assert loaded.examples == plain
    assert (FOLDER / "prompts.csv").read_bytes() == as_csv()
    write_workbook(tmp_path / "prompts.xlsx")
    written, kept = (openpyxl.load_workbook(f / "prompts.xlsx") for f in (tmp_path, FOLDER))
    for sheet in written:
        assert list(sheet.values) == list(kept[sheet.title].values)


def test_a_spreadsheet_ends_in_a_printed_recommendation_and_resumes(tmp_path):
    page = [block for block in blocks() if block.page == "docs/spreadsheet.md" and block.is_shell]
    shown = [line for block in page for line in commands_in(block.text)]
    assert len(shown) <= 5
    checked, swept = (shlex.split(line)[3:] for line in shown[:2])
    assert set(OWN) <= set(checked) & set(swept)
    arguments = (
        "method=steer", "data=pairs", f"data.file={ROOT / 'docs/example_pairs/prompts.xlsx'}", *OWN,
        "method.layers=[3]", "method.strengths=[2]", "data.limit=6", "utility.limit=3",
        "generation.max_new_tokens=8", "method@reference=none", "report=false",
        f"out={tmp_path / 'run'}",
    )  # fmt: skip
    with undrawn():
        done = command("sweep", *arguments)
        assert done.code == 0, done.stderr
        assert "SRA_u" in done.stdout and "clusters" in done.stdout
        again = command("sweep", *arguments)
    assert again.code == 0 and "Resuming" in again.stdout
    data = Run.load(tmp_path / "run").config("data")
    assert data.labels == {"yes": "unsafe", "no": "safe"}
    assert data.columns["image"] == "Image file"
