"""The prompt-only reference: it is also run, marked, and kept apart from the methods."""

import csv
import json
import shutil
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
from calib.util.checksums import checked_object

TINY = (
    "method=steer", "method.layers=[3]", "method.strengths=[-1,2]", "data.limit=12",
    "data.parts=[image_centric]", "utility.limit=6", "generation.max_new_tokens=12",
)  # fmt: skip
MARKS = [("steer", False, False), ("caution", True, True)]
"""Method, prompt_only, reference."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one activation method, with its reference."""
    out = tmp_path_factory.mktemp("runs") / "steered"
    with undrawn():
        sweep.main(composed("sweep", *TINY, f"out={out}"))
    return out


def points_of(folder):
    """The operating points, without the checksums that a change by hand would invalidate."""
    points = json.loads((folder / "operating_points.json").read_text(encoding="utf-8"))
    return [{key: value for key, value in each.items() if key != "crc32"} for each in points]


def write_points(folder, points):
    text = json.dumps([checked_object(point) for point in points])
    (folder / "operating_points.json").write_text(text, encoding="utf-8")


def marks(folder):
    return [
        (point["method"], point["prompt_only"], point["reference"]) for point in points_of(folder)
    ]


def results_of(folder):
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_is_run_on_both_splits_at_one_strength_and_marked(run):
    for split in ("validation", "test"):
        grid = {(r["method"], r["layer"], float(r["strength"])) for r in results_of(run)
                if r["split"] == split}  # fmt: skip
        steered = {("steer", "3", -1.0), ("steer", "3", 2.0)}
        assert grid == {("none", "", 0.0), *steered, ("caution", "", 1.0)}
    assert marks(run) == MARKS
    assert points_of(run)[1]["layer"] is None
    rows = {row["row"]: row for row in map(json.loads, (run / "rows.jsonl").open(encoding="utf-8"))}
    labels = map(json.loads, (run / "labels.jsonl").open(encoding="utf-8"))
    of_reference = [rows[label["row"]] for label in labels if label["method"] == "caution"]
    text = composed("sweep").reference.texts["mini-internvl"]["text"][0]
    assert {(row["system"], bool(row["edits"])) for row in of_reference} == {(text, False)}
    # The figure is that of a single method.
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
def test_it_is_run_if_no_other_method_is_prompt_only(overrides, expected):
    config = composed("sweep", *overrides)
    reference = reference_of(config)
    assert (reference.name if reference else None) == expected
    names = [method.name for method in methods_of(config)]
    assert names[-1:] == [expected] if expected else reference not in methods_of(config)


@pytest.mark.parametrize("name", ["steer", "ablate", "combine"])
def test_it_must_be_a_prompt_only_method(name):
    with raises("invalid-setting", f"method@reference={name}", "caution", "none"):
        composed("sweep", f"method@reference={name}")


def test_another_reference_is_selected_and_configured(tmp_path):
    """It can be any prompt-only method, with its own name and settings."""
    run = tmp_path / "run"
    few = ("method@reference=caution", "reference.name=careful", "reference.file=caution")
    text = ("reference.place=before", "reference.text=Mind the step.")
    with undrawn():
        sweep.main(composed("sweep", *TINY, *few, *text, "utility=none", f"out={run}"))
    assert marks(run) == [("steer", False, False), ("careful", True, True)]
    assert {r["method"] for r in results_of(run)} == {"none", "steer", "careful"}


def test_a_model_without_system_prompts_is_refused_before_the_run(vlm):
    """The error names the reference only if the reference is the cause."""
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    processor = copy(vlm.processor)
    processor.chat_template = refuses + processor.chat_template
    other, benchmark = replace(vlm, processor=processor), Benchmark(load(["image_centric"], 4))
    with raises(
        "unsupported", "caution", "reference.place=system", "no system", "reference.place=before"
    ):
        check_sweep(composed("sweep", *TINY), other, benchmark)
    for given in ("reference.place=before", "method@reference=none", "method@reference=ecso"):
        check_sweep(composed("sweep", *TINY, given), other, benchmark)
    check_sweep(composed("sweep", *TINY), vlm, benchmark)
    processor.chat_template = "{{ raise_exception('nothing at all') }}"
    with raises("unsupported", "nothing at all") as error:
        check_sweep(composed("sweep", *TINY), other, benchmark)
    assert "reference" not in str(error.value)


def test_two_methods_with_one_name_are_refused(tmp_path):
    named = ("method.name=caution", "method.file=steer", f"out={tmp_path / 'run'}")
    with raises("duplicate", "caution"):
        sweep.main(composed("sweep", *TINY, *named))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_resumes_to_the_same_bytes(run, tmp_path, capsys):
    again = tmp_path / run.name
    rows = (run / "rows.jsonl").read_bytes().splitlines(keepends=True)
    again.mkdir()
    (again / "run.json").write_bytes((run / "run.json").read_bytes())
    (again / "rows.jsonl").write_bytes(b"".join(rows[: len(rows) // 2]))
    for _ in range(2):  # the second time everything is cached
        sweep.main(composed("sweep", *TINY, f"out={again}"))
        for name in ("rows.jsonl", "labels.jsonl", "results.csv", "operating_points.json"):
            assert (again / name).read_bytes() == (run / name).read_bytes(), name
        assert marks(again) == MARKS
    printed = capsys.readouterr().out
    assert f"{len(rows)} rows are saved" in printed
    assert printed.count("(caution): SRA ") == 2


@pytest.mark.usefixtures("undrawn")
def test_an_unused_reference_does_not_identify_the_run(tmp_path, capsys):
    settings = ("method=reminder", *TINY[3:], f"out={tmp_path}/run")
    sweep.main(composed("sweep", *settings))
    capsys.readouterr()
    sweep.main(composed("sweep", *settings, "method@reference=none"))
    assert "rows are saved" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_it_is_still_the_reference_after_judging_again(run, capsys):
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


def test_one_of_several_methods_must_be_picked(run, tmp_path):
    """The reference alone does not make pick necessary."""
    several = shutil.copytree(run, tmp_path / "several")
    points = points_of(run)
    points.insert(1, points[0] | {"method": "other"})
    write_points(several, points)
    with raises("missing-setting", "steer, other, caution", "pick=NAME"):
        load_served(composed("serve", f"run={several}"))
    # A run of a version without references.
    del points[1], points[1]["reference"], points[0]["reference"]
    write_points(several, points)
    with raises("missing-setting", "steer, caution", "pick=NAME"):
        load_served(composed("serve", f"run={several}"))


def test_the_direction_is_exported(run, tmp_path):
    export.main(ExportConfig(run=str(run), out=str(tmp_path / "d.safetensors")))
    direction = read_direction(tmp_path / "d.safetensors")
    assert (direction.layers, direction.strength) == ([3], points_of(run)[0]["strength"])
    card = (tmp_path / "d.safetensors.md").read_text(encoding="utf-8").partition("## Measured")[2]
    cells = [line.split("|")[1].strip() for line in card.splitlines() if line.startswith("| ")]
    assert cells == ["strength", "-1", "uncalibrated", "2"]
    assert "caution" not in card
