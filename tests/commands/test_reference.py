"""The prompt-only reference: asked beside an activation method, marked, and never in its way."""

import csv
import json
from copy import copy
from dataclasses import replace

import pytest
from composing import composed
from in_process import undrawn
from raising import raises

from calib import export, judge, sweep
from calib.config.commands import ExportConfig
from calib.data.example import Benchmark
from calib.data.mini.examples import load
from calib.directions.direction import read_direction
from calib.runs.preflight import check_sweep, methods_of, reference_of
from calib.serving.loader import load_served
from calib.util.errors import CalibError

TINY = (
    "method=steer", "method.layers=[3]", "method.strengths=[-1,2]", "data.limit=12",
    "data.parts=[image_centric]", "utility.limit=6", "generation.max_new_tokens=12",
)  # fmt: skip
MARKS = [("steer", False, False), ("caution", True, True)]
"""Method, prompt_only, reference."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one activation method, with what is asked beside it."""
    out = tmp_path_factory.mktemp("runs") / "steered"
    with undrawn():
        sweep.main(composed("sweep", *TINY, f"out={out}"))
    return out


def points_of(folder):
    return json.loads((folder / "operating_points.json").read_text())


def marks(folder):
    return [(one["method"], one["prompt_only"], one["reference"]) for one in points_of(folder)]


def results_of(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_is_asked_on_both_splits_at_one_strength_and_marked(run):
    for split in ("validation", "test"):
        grid = {(r["method"], r["layer"], float(r["strength"])) for r in results_of(run)
                if r["split"] == split}  # fmt: skip
        steered = {("steer", "3", -1.0), ("steer", "3", 2.0)}
        assert grid == {("none", "", 0.0), *steered, ("caution", "", 1.0)}
    assert marks(run) == MARKS
    assert points_of(run)[1]["layer"] is None
    rows = {one["row"]: one for one in map(json.loads, (run / "rows.jsonl").open())}
    labels = map(json.loads, (run / "labels.jsonl").open())
    asked = [rows[one["row"]] for one in labels if one["method"] == "caution"]
    words = composed("sweep").reference.texts["mini-internvl"]["text"]
    assert {(one["system"], bool(one["edits"])) for one in asked} == {(words, False)}
    # The figure is that of one method.
    assert (run / "trade_off.png").exists() and not (run / "methods.png").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "caution"),
        (["method=combine"], "caution"),
        (["method=none"], None),
        (["method=reminder"], None),
        (["method=few_shot"], None),
        (["method@reference=none"], None),
        (["method@reference=reminder"], "reminder"),
        (["method=none", "+method@methods.a=steer", "+method@methods.b=ablate"], "caution"),
        (["method=none", "+method@methods.a=steer", "+method@methods.b=ecso"], None),
        (["method=none", "+method@methods.a=none"], None),
        (["experiment=vscbench_four"], None),
        (["model=vllm", "model.model=m", "method=caution"], None),
    ],
)
def test_it_is_there_where_there_is_something_to_compare_it_with(overrides, expected):
    config = composed("sweep", *overrides)
    found = reference_of(config)
    assert (found.name if found else None) == expected
    names = [one.name for one in methods_of(config)]
    assert names[-1:] == [expected] if expected else found not in methods_of(config)


@pytest.mark.parametrize("name", ["steer", "ablate", "combine"])
def test_it_changes_the_prompt_alone(name):
    words = f"method@reference={name} does not change the prompt alone.*caution.*or none"
    with pytest.raises(CalibError, match=words):
        composed("sweep", f"method@reference={name}")


def test_another_one_is_chosen_and_set(tmp_path):
    """It may be any prompt-only method, under a name of its own, with settings of its own."""
    run = tmp_path / "run"
    few = ("method@reference=caution", "reference.name=careful", "reference.file=caution")
    words = ("reference.place=before", "reference.text=Mind the step.")
    with undrawn():
        sweep.main(composed("sweep", *TINY, *few, *words, "utility=none", f"out={run}"))
    assert marks(run) == [("steer", False, False), ("careful", True, True)]
    assert {r["method"] for r in results_of(run)} == {"none", "steer", "careful"}


def test_a_model_that_takes_no_system_prompt_is_told_before_anything_is_done(vlm):
    """Of the reference; an example that cannot be read at all is another matter."""
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    processor = copy(vlm.processor)
    processor.chat_template = refuses + processor.chat_template
    other, benchmark = replace(vlm, processor=processor), Benchmark(load(["image_centric"], 2))
    words = "reference, caution, is shown as reference.place=system, and .*no system.*place=before"
    with pytest.raises(CalibError, match=words):
        check_sweep(composed("sweep", *TINY), other, benchmark)
    for given in ("reference.place=before", "method@reference=none", "method@reference=ecso"):
        check_sweep(composed("sweep", *TINY, given), other, benchmark)
    check_sweep(composed("sweep", *TINY), vlm, benchmark)
    processor.chat_template = "{{ raise_exception('nothing at all') }}"
    with pytest.raises(CalibError, match="cannot prepare example '[^']*': nothing at all$"):
        check_sweep(composed("sweep", *TINY), other, benchmark)


def test_two_of_one_name_are_refused(tmp_path):
    named = ("method.name=caution", "method.file=steer", f"out={tmp_path / 'run'}")
    with pytest.raises(CalibError, match="two methods have one name, caution"):
        sweep.main(composed("sweep", *TINY, *named))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_stopped_run_goes_on_to_the_same_bytes(run, tmp_path, capsys):
    again = tmp_path / run.name
    rows = (run / "rows.jsonl").read_bytes().splitlines(keepends=True)
    again.mkdir()
    (again / "run.json").write_bytes((run / "run.json").read_bytes())
    (again / "rows.jsonl").write_bytes(b"".join(rows[: len(rows) // 2]))
    for _ in range(2):  # the second time there is nothing left to do
        sweep.main(composed("sweep", *TINY, f"out={again}"))
        for name in ("rows.jsonl", "labels.jsonl", "results.csv", "operating_points.json"):
            assert (again / name).read_bytes() == (run / name).read_bytes(), name
        assert marks(again) == MARKS
    said = capsys.readouterr().out
    assert f"{len(rows)} rows were answered before" in said
    assert said.count("Prompt only (caution): SRA ") == 2


@pytest.mark.usefixtures("undrawn")
def test_one_that_is_not_asked_is_no_part_of_the_run(tmp_path, capsys):
    whole = ("method=reminder", *TINY[3:], f"out={tmp_path}/run")
    sweep.main(composed("sweep", *whole))
    capsys.readouterr()
    sweep.main(composed("sweep", *whole, "method@reference=none"))
    assert "rows were answered before" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_judged_again_it_is_still_the_reference(run, capsys):
    judge.main(composed("judge", f"run={run}", "judge=string"))
    again = run / "judged" / "string"
    assert marks(again) == MARKS
    assert (again / "trade_off.png").exists() and not (again / "methods.png").exists()
    methods = {r["method"] for r in results_of(again)}
    assert methods == {"none", "steer", "caution"}


def test_the_method_is_served_unless_the_reference_is_picked(run):
    served = load_served(composed("serve", f"run={run}"))
    assert (served.method.name, served.layer) == ("steer", points_of(run)[0]["layer"])
    assert served.strength == points_of(run)[0]["strength"]
    picked = load_served(composed("serve", f"run={run}", "pick=caution"))
    assert (picked.method.name, picked.layer) == ("caution", None)
    assert picked.setting(None, 1.0).intervention.edits == ()
    with raises("unknown-name", "pick=cautoin", "steer, caution", "'caution'"):
        load_served(composed("serve", f"run={run}", "pick=cautoin"))


def test_of_several_methods_one_is_picked(run, tmp_path):
    """The reference is not one of those that a choice must be made between."""
    several = tmp_path / "several"
    several.mkdir()
    for name in ("config.yaml", "run.json"):
        (several / name).write_bytes((run / name).read_bytes())
    points = points_of(run)
    points.insert(1, points[0] | {"method": "other"})
    (several / "operating_points.json").write_text(json.dumps(points))
    with raises("missing-setting", "steer, other, caution", "pick=NAME"):
        load_served(composed("serve", f"run={several}"))
    # A run from before there were references.
    del points[1], points[1]["reference"], points[0]["reference"]
    (several / "operating_points.json").write_text(json.dumps(points))
    with raises("missing-setting", "steer, caution", "pick=NAME"):
        load_served(composed("serve", f"run={several}"))


def test_the_direction_is_exported(run, tmp_path):
    export.main(ExportConfig(run=str(run), out=str(tmp_path / "d.safetensors")))
    found = read_direction(tmp_path / "d.safetensors")
    assert (found.layers, found.strength) == ([3], points_of(run)[0]["strength"])
    card = (tmp_path / "d.md").read_text().partition("## Measured")[2]
    cells = [line.split("|")[1].strip() for line in card.splitlines() if line.startswith("| ")]
    assert cells == ["strength", "-1", "uncalibrated", "2"]
    assert "caution" not in card
