"""Runs from which little can be computed end in an error or empty cells, not a made-up number.

Most runs are written without a model (made_up_run), and then read by report, plot and judge.
"""

import csv
import json
from dataclasses import replace

import pytest
from in_process import command, undrawn
from made_up_run import Costly, asked, write_run
from raising import raises

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

TABLE = {
    "no_validation": ["train", "test"],
    "no_test": ["train", "validation"],
    "no_train": ["validation", "test"],
}


def without(**values):
    """All queries and questions but those with these values."""
    return {"examples": [e for e in asked() if any(getattr(e, k) != v for k, v in values.items())]}


def one_pair():
    """One pair in each split, and no questions."""
    queries = [example for example in asked() if example.safety]
    first = {example.split: example.pair for example in reversed(queries)}
    return {"examples": [e for e in queries if e.pair == first[e.split]]}


RUNS = {
    "all_safe": lambda: without(safety="unsafe"),
    "all_unsafe": lambda: without(safety="safe"),
    "no_questions": lambda: without(safety=None),
    "one_part": lambda: without(dataset="image_centric"),
    "one_side_on_test": lambda: without(safety="safe", split="test"),
    "one_side_on_validation": lambda: without(safety="safe", split="validation"),
    "one_pair": one_pair,
    "one_cluster": lambda: {
        "examples": [replace(e, concept="c") if e.safety else e for e in asked()]
    },
    "all_irrelevant": lambda: {"judge": Costly(label="irrelevant")},
    "all_overflowed": lambda: {"finish": {example.id: "not_finite" for example in asked()}},
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("degenerate") / request.param
    return write_run(folder, **RUNS[request.param]())


def results(folder):
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_no_rate_without_responses_and_none_outside_its_interval(run):
    rows = results(run)
    assert rows
    for row in rows:
        assert int(row["n"]) > 0 and 0 < int(row["clusters"] or 1) <= int(row["n"]), row
        value, low, high = (float(row[key] or "nan") for key in ("value", "low", "high"))
        assert value == value, row
        assert not low > value and not high < value, row


@pytest.mark.parametrize("door", ["report", "plot", "judge"])
def test_every_command_reads_it_or_names_the_reason(run, door, tmp_path):
    arguments = {
        "report": [f"runs=[{run}]", f"out={tmp_path / 'report'}"],
        "plot": [f"runs=[{run}]", f"out={tmp_path}", "formats=[png]"],
        "judge": [f"run={run}", "judge=string"],
    }[door]
    with undrawn():
        done = command(door, *arguments)
    assert done.code == 0 or (done.code == 2 and "[" in done.stderr), done.stderr
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown and "RuntimeWarning" not in shown
    assert "nan" not in shown.lower().split() and "nan%" not in shown


def test_a_run_without_any_readable_label_is_not_scored(tmp_path):
    with raises("too-few", "8 image_centric responses", "validation"):
        write_run(tmp_path / "run", judge=Costly(label=None))


@pytest.mark.parametrize("case", TABLE)
def test_an_empty_split_is_named_before_anything_is_generated(case, tmp_path):
    file, out = tmp_path / "pairs.jsonl", tmp_path / "run"
    lines = [
        json.dumps({"query": f"{safety} {k}?", "safety": safety, "pair": f"p{k}", "split": split})
        for k, split in enumerate(TABLE[case])
        for safety in ("safe", "unsafe")
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    done = command(
        "sweep", "method=steer", "data=pairs", f"data.file={file}", f"out={out}",
        "utility.limit=2", "generation.max_new_tokens=1", "method@reference=none",
    )  # fmt: skip
    assert done.code == 2 and "[too-few]" in done.stderr
    assert f"{case.removeprefix('no_')} split" in done.stderr
    rows = out / "rows.jsonl"
    assert not rows.exists() or not rows.read_text(encoding="utf-8")
