"""Experiments: several methods in one run, with one table."""

import csv
import json
import re
from pathlib import Path

import pytest
from composing import composed
from in_process import command
from methods_page import settings

from calib import methods, sweep
from calib.config.prompts import NoneMethod
from calib.config.schemas import CONF
from calib.scoring.results import read_results

ROOT = Path(__file__).resolve().parents[2]
FOUR = ["reminder", "few_shot", "iar_layer", "iar_head"]
TINY = (
    "data.limit=20", "data.parts=[image_centric]", "utility.limit=6",
    "generation.max_new_tokens=12", "methods.few_shot.strengths=[1,2]",
    "methods.iar_layer.layers=[2,3]", "methods.iar_layer.strengths=[-1,1]",
    "methods.iar_head.heads=4", "methods.iar_head.strengths=[1]",
)  # fmt: skip
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def contents(folder):
    """The bytes of every file in a folder, by path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run(out):
    sweep.main(composed("sweep", "experiment=vscbench_four", *TINY, f"out={out}"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run of the four methods from the command line: its folder and its output."""
    out = tmp_path_factory.mktemp("runs") / "four"
    done = command("sweep", "experiment=vscbench_four", *TINY, f"out={out}")
    assert done.code == 0, done.stderr
    return out, done.stdout


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_composes_under_its_own_name(name):
    config = composed("sweep", f"experiment={name}")
    assert config.experiment == name
    assert isinstance(config.method, NoneMethod)
    plain = [f"+method@methods.{key}={key}" for key in config.methods]
    options = composed("sweep", "method=none", *plain).methods
    for key, method in config.methods.items():
        # Each key is the name of its method.
        assert method.name == key
        assert type(method) is type(options[key])


def test_the_four_of_vscbench():
    config = composed("sweep", "experiment=vscbench_four")
    assert list(config.methods) == FOUR


def test_all_methods_are_those_of_the_published_results():
    config = composed("sweep", "experiment=all_methods")
    (run,) = read_results(ROOT / "experiments" / "all_methods" / "mini_internvl_2" / "results.csv")
    assert {result.method for result in run.results} - {"none"} == set(config.methods)


def test_each_of_all_methods_has_24_settings_on_mini_internvl():
    config = composed("sweep", "experiment=all_methods")
    assert set(config.methods) == set(methods.names())
    counts = {name: settings(method) for name, method in config.methods.items()}
    assert set(counts.values()) == {24}, counts


def test_settings_of_a_method_are_given_by_its_name():
    config = composed(
        "sweep", "experiment=all_methods", "methods.steer.layers=[3]", "methods.vti.kl=0.2",
        "methods.combine.prompt.place=before", "~methods.astra",
    )  # fmt: skip
    assert config.methods["steer"].layers == [3]
    assert config.methods["steer_pca"].layers == "all"
    assert config.methods["vti"].kl == 0.2
    assert config.methods["combine"].prompt.place == "before"
    assert "astra" not in config.methods


def test_a_method_can_be_added_to_an_experiment():
    config = composed("sweep", "experiment=vscbench_four", "+method@methods.ecso=ecso")
    assert list(config.methods) == [*FOUR, "ecso"]


def test_the_title_of_an_experiment_is_a_note(finished):
    _, output = finished
    title = composed("sweep", "experiment=vscbench_four").title
    assert f"note: {title}" in output


def test_one_table_has_all_four_and_the_uncalibrated_model(finished):
    _, output = finished
    lines = output.splitlines()
    (head,) = [k for k, line in enumerate(lines) if line.startswith("method ")]
    table = lines[head + 2 : head + 7]
    names = [line.split()[0] for line in table]
    # An asterisk marks methods that only change the prompt.
    assert names[0] == "uncalibrated"
    assert sorted(names[1:]) == sorted(["reminder*", "few_shot*", "iar_layer", "iar_head"])
    kept = [line for line in table[1:] if "none better" in line]
    assert table[len(table) - len(kept) :] == kept  # last, in order of name
    assert kept == sorted(kept)
    shown = [re.search(r"([-+][\d.]+) \(", line) for line in table[1 : len(table) - len(kept)]]
    changes = [float(change[1]) for change in shown]
    assert changes == sorted(changes, reverse=True)
    assert lines[head + 7] == ""
    assert max(map(len, table)) <= 100


def test_one_run_has_the_rows_of_all_four(finished):
    out, _ = finished
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        results = list(csv.DictReader(file))
    grids = {
        method: {(r["layer"], float(r["strength"])) for r in results
                 if (r["method"], r["split"]) == (method, "validation")}
        for method in ("none", *FOUR)
    }  # fmt: skip
    assert grids == {
        "none": {("", 0.0)},
        "reminder": {("", 1.0)},
        "few_shot": {("", 1.0), ("", 2.0)},
        "iar_layer": {(layer, strength) for layer in "23" for strength in (-1.0, 1.0)},
        "iar_head": {("", 1.0)},
    }
    assert {r["method"] for r in results if r["split"] == "test"} == {"none", *FOUR}
    assert (out / "methods.png").exists()


def test_each_method_has_its_operating_point(finished):
    out, _ = finished
    points = json.loads((out / "operating_points.json").read_text(encoding="utf-8"))
    assert [point["method"] for point in points] == FOUR
    for point in points:
        assert point["chosen_on"] == "validation"
        assert (point["layer"] is None) == (point["method"] != "iar_layer")
        assert point["kept_uncalibrated"] == (point["strength"] == 0)
        assert point["strength_means"]
    assert len({point["strength_means"] for point in points}) >= 3


def test_a_repeated_run_reuses_all_rows(finished, capsys):
    out, output = finished
    before = contents(out)
    run(out)
    assert contents(out) == before
    repeated = capsys.readouterr().out.splitlines()
    (note,) = [line for line in repeated if line not in output.splitlines()]
    rows = len((out / "rows.jsonl").read_text(encoding="utf-8").splitlines())
    assert str(rows) in note
    assert [line for line in repeated if line != note] == output.splitlines()


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_resumes_to_the_same_bytes(finished, tmp_path):
    out, _ = finished
    again = tmp_path / "four"
    rows = (out / "rows.jsonl").read_bytes().splitlines(keepends=True)
    again.mkdir()
    (again / "run.json").write_bytes((out / "run.json").read_bytes())
    (again / "rows.jsonl").write_bytes(b"".join(rows[: len(rows) // 2]) + rows[-1][:20])
    run(again)
    for name in ("rows.jsonl", "labels.jsonl", "results.csv", "operating_points.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes(), name
