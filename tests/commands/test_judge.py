"""calib.judge: a run judged again, a sheet to label and back, a table; and what goes wrong."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from composing import composed
from in_process import command, undrawn
from made_up_run import Costly, write_run
from raising import raises

from calib import judge, sweep
from calib.config.choices import PERTURBATIONS
from calib.config.judge import JudgeConfig, JudgeRunConfig
from calib.runs.labels import rejudging
from calib.runs.row_store import locked

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = ("method@reference=none",)
TINY = ("data.limit=12", "utility.limit=12", "generation.max_new_tokens=12")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run over several layers, of which one was tested."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    grid = ("method.layers=[2,4]", "method.strengths=[-2,0,2]")
    sweep.main(composed("sweep", "method=steer", *WITHOUT, *TINY, *grid, f"out={out}"))
    return out


@pytest.fixture(scope="module")
def dual_use(tmp_path_factory):
    """A finished run on dual-use pictures alone."""
    out = tmp_path_factory.mktemp("runs") / "dual"
    few = ("data.limit=60", "utility=none", "generation.max_new_tokens=12")
    steered = ("method=steer", "method.layers=[3]", "method.strengths=[2]")
    parts = ("data.parts=[dual_use]", f"out={out}")
    with undrawn():
        sweep.main(composed("sweep", *steered, *WITHOUT, *few, *parts))
    return out


def judged(*overrides):
    judge.main(composed("judge", *overrides))


def without_run(path):
    return [line.split(",", 1)[1] for line in path.read_text(encoding="utf-8").splitlines()]


def rows_of(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_the_judge_of_the_sweep_gives_the_tables_of_the_sweep(run, tmp_path, capsys):
    judged(f"run={run}", "judge=rules")
    again = run / "judged" / "rules"
    said = capsys.readouterr().out
    assert f"Checkpoint mini-internvl, judge rules, run {run}\n" in said
    assert "labels differ from those of the run's judge, rules" in said
    tables = [line for line in said.splitlines() if not line.startswith("note: ")]
    assert all(len(line) <= 100 for line in tables if str(run) not in line)
    for name in ("labels.jsonl", "operating_points.json"):
        assert (again / name).read_bytes() == (run / name).read_bytes(), name
    assert without_run(again / "results.csv") == without_run(run / "results.csv")
    assert (again / "trade_off.png").read_bytes() == (run / "trade_off.png").read_bytes()
    # In a folder of that name not even the name differs.
    judged(f"run={run}", "judge=rules", f"out={tmp_path / 'whole'}")
    same = (tmp_path / "whole" / "results.csv").read_bytes()
    assert same == (run / "results.csv").read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_another_judge_is_that_of_a_sweep_with_it(run, tmp_path, capsys):
    """Its results are those of a sweep that had it from the start (safety contrast: no labels
    take part in the fit)."""
    judged(f"run={run}", "judge=string", f"out={tmp_path / 'a'}")
    rows = {r["row"]: r for r in map(json.loads, (run / "rows.jsonl").open(encoding="utf-8"))}
    labels = [json.loads(line) for line in (tmp_path / "a" / "labels.jsonl").open(encoding="utf-8")]
    from calib.judges.string import judge_string

    for one in labels:
        if one["label"] is not None:
            assert one["label"] == judge_string(rows[one["row"]]["response"])
    assert "judge string" in capsys.readouterr().out
    assert without_run(tmp_path / "a" / "results.csv") != without_run(run / "results.csv")


def test_the_sheet_goes_out_and_comes_back(run, tmp_path, capsys):
    judged(f"run={run}", "audit=3", f"out={tmp_path / 'audit'}")
    sheet = tmp_path / "audit" / "sheet.csv"
    said = capsys.readouterr().out
    assert f"sheet  {sheet}" in said
    rows = rows_of(sheet)
    labels = {
        one["row"]: one["label"]
        for one in map(json.loads, (run / "labels.jsonl").open(encoding="utf-8"))
    }
    for k, row in enumerate(rows):
        row["label"] = "" if k == 0 else labels[row["id"]]
    rows[1]["label"] = "refusal" if rows[1]["label"] != "refusal" else "answer"
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    judged(f"check={sheet}", f"run={run}")
    said = capsys.readouterr().out
    n = len(rows) - 1
    assert f"note: 1 of {n + 1} rows" in said
    assert f"accuracy  {100 * (n - 1) / n:.1f}%" in said and "Columns: rules." in said
    with raises("already-exists", sheet):
        judged(f"run={run}", "audit=3", f"out={tmp_path / 'audit'}")


def test_a_table_with_columns_and_words_of_its_own(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text(
        'said,final\n"I cannot help with that.",1\n"Fold it twice.",no\n', encoding="utf-8"
    )
    judged(f"check={table}", "columns={response: said, label: final}",
           "labels={1: refusal, no: answer}", "judge=string")  # fmt: skip
    assert "n         2\naccuracy  100.0%" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.usefixtures("undrawn")
def test_dual_use_alone_is_counted_asked_and_fitted_on_originals(dual_use, capsys):
    examples = {
        e["id"]: e for e in map(json.loads, (dual_use / "examples.jsonl").open(encoding="utf-8"))
    }
    variants = {split: {e["variant"] for e in examples.values() if e["split"] == split}
                for split in ("validation", "test")}  # fmt: skip
    assert variants["validation"] <= {"original", "drawn"} and len(variants["test"]) > 3
    rates = {
        (r["method"], r["dataset"], r["metric"]): r
        for r in rows_of(dual_use / "results.csv")
        if (r["split"], r["variant"], r["category"]) == ("test", "all", "all")
    }
    for method in ("none", "steer"):
        for ours, theirs in (("SRA_u", "RR_h"), ("SRA_s", "DAR_b")):
            one, same = rates[method, "all", ours], rates[method, "dual_use", theirs]
            assert [one[k] for k in ("value", "n")] == [same[k] for k in ("value", "n")]
    originals = sum(
        e["split"] == "test" and e["variant"] not in PERTURBATIONS for e in examples.values()
    )
    assert int(rates["none", "all", "SRA"]["n"]) == originals
    (fitted,) = (dual_use / "directions").glob("*.safetensors")
    from calib.config.data import MiniData
    from calib.data.benchmarks import load_benchmark
    from calib.directions.direction import read_direction
    from calib.directions.fit import pair_set_hash
    from calib.interventions.contrasts import twins

    asked = load_benchmark(MiniData(limit=60, parts=["dual_use"])).examples
    train = twins(asked, "train")
    assert train and not {one.variant for one in train} & set(PERTURBATIONS)
    assert read_direction(fitted).pair_set == pair_set_hash(train)
    judged(f"run={dual_use}", "judge=rules")
    said = capsys.readouterr().out
    assert "original pictures (n = " in said and "under rotation (n = " in said
    assert "not measured" in said
    assert all(len(line) <= 100 for line in said.splitlines() if str(dual_use) not in line)
    again = dual_use / "judged" / "rules"
    assert without_run(again / "results.csv") == without_run(dual_use / "results.csv")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("utility", ["mini", "none"])
@pytest.mark.parametrize("side", ["safe", "unsafe"])
def test_a_benchmark_of_one_side_goes_all_the_way(tmp_path, capsys, side, utility):
    table = tmp_path / "pairs.csv"
    rows = [f"How do I fold map {k}?,{side},{['validation', 'test'][k % 2]}" for k in range(8)]
    table.write_text("\n".join(["query,safety,split", *rows]) + "\n", encoding="utf-8")
    data = ("data=pairs", f"data.file={table}", f"utility={utility}", TINY[2])
    data += ("utility.limit=4",) if utility == "mini" else ()
    rate, other = ("SRA_s", "SRA_u") if side == "safe" else ("SRA_u", "SRA_s")
    methods = ("method=none", "+method@methods.reminder=reminder", "+method@methods.cot=cot")
    for name, chosen in (("one", ("method=reminder",)), ("two", methods)):
        out = tmp_path / name
        sweep.main(composed("sweep", *data, *chosen, f"out={out}"))
        said = capsys.readouterr().out
        assert f"note: data=pairs has {side} queries only: {rate} " in said
        assert "nan" not in said.split("test split")[-1]
        found = {r["metric"] for r in rows_of(out / "results.csv")}
        assert rate in found and not found & {"SRA", other}
        judged(f"run={out}", "judge=string", "mapping=paper")
        assert "mapping=paper: as VSCBench's released code counts" in capsys.readouterr().out
        assert without_run(out / "judged/string-paper/results.csv")
        assert list((out / "judged" / "string-paper").glob("*.png"))


def test_two_processes_do_not_judge_one_run(run):
    with locked(run), raises("in-use", run):
        judged(f"run={run}", "judge=string")


@pytest.mark.usefixtures("undrawn")
def test_a_killed_pass_goes_on_where_it_stopped(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run")
    dies = Costly(breaks_at=0, breaks_with=KeyboardInterrupt())
    whole = Costly()
    for one in (dies, whole):
        monkeypatch.setattr(rejudging, "choose_judge", lambda *given, one=one: one)
        if one is dies:
            with pytest.raises(KeyboardInterrupt):
                judged(f"run={folder}")
            assert not (folder / "judged").exists()
        else:
            judged(f"run={folder}")
    again = Costly()
    monkeypatch.setattr(rejudging, "choose_judge", lambda *given: again)
    judged(f"run={folder}")
    assert whole.asked and again.asked == []


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        ([], "missing-setting", ["run=FOLDER", "check=FILE"]),
        (["audit=3"], "missing-setting", ["run=FOLDER"]),
        (["run=/no/such"], "unfinished-run", ["/no/such"]),
        (["check=/no/such.csv"], "not-found", ["/no/such.csv"]),
        (["check=a.csv", "audit=3", "run=RUN"], "conflicting-settings", ["check", "audit"]),
        (["check=a.csv", "out=b"], "conflicting-settings", ["check", "out"]),
        (["check=a.csv", "mapping=paper"], "conflicting-settings", ["mapping", "check"]),
        (["run=RUN", "audit=2", "mapping=paper"], "conflicting-settings", ["mapping", "audit"]),
        (["run=RUN", "merge=true"], "conflicting-settings", ["merge", "check"]),
        (["run=RUN", "labels={a: answer}"], "conflicting-settings", ["labels", "check"]),
        (["check=a.csv", "columns=[a]"], "invalid-setting", ["columns"]),
        (["check=a.csv", "labels={a: [b]}"], "invalid-setting", ["labels"]),
        (["run=RUN", "audit=0"], "invalid-setting", ["audit", "0"]),
        (["run=RUN", "mapping=papr"], "invalid-setting", ["'papr'", "'paper'"]),
        (["run=' '"], "invalid-setting", ["run"]),
        (["run=RUN", "out=RUN"], "already-exists", ["RUN"]),
        (["run=RUN", "judge=string", "judge.name=strng"], "unknown-name", ["strng", "'string'"]),
        (["run=RUN", "judge=llm"], "missing-setting", ["judge.models"]),
    ],
)
def test_invalid_input_is_explained(run, overrides, code, values):
    with raises(code, *(value.replace("RUN", str(run)) for value in values)):
        judged(*(override.replace("RUN", str(run)) for override in overrides))


def test_an_unfinished_run_is_refused(run, tmp_path):
    for name in ("operating_points.json", "examples.jsonl"):
        copy = tmp_path / name
        shutil.copytree(run, copy)
        (copy / name).unlink()
        with raises("unfinished-run", copy, name):
            judge.main(JudgeRunConfig(JudgeConfig("string"), run=str(copy)))
        assert not (copy / "judged").exists() or (run / "judged").exists()


def test_at_the_command_line_there_is_one_message_and_no_traceback(run):
    for arguments, words in (
        (["run=/no/such"], "[unfinished-run] '/no/such'"),
        ([f"run={run}", "judge=strin"], "Did you mean 'string'?"),
        ([f"run={run}", "judg=string"], "judg"),
        (["check=/no/such.csv", "labels={1: answer}"], "does not exist"),
    ):
        done = command("judge", *arguments)
        assert done.code == 2, done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr
        assert done.stderr.startswith("calib.judge: ")


def test_help_says_what_it_does_without_torch():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "calib.judge", "--help"],
        cwd=ROOT, capture_output=True, encoding="utf-8", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.count("python -m calib.judge") >= 4
    assert re.search(r"\njudge=auto .*\n +auto, classifier, ", done.stdout)
    for key in ("run", "check", "audit", "columns", "labels", "merge", "mapping"):
        assert f"\n{key}=" in done.stdout
    assert "torch" not in done.stderr
