"""calib.export: the direction of a run that steers, as a file with a card, and nothing else."""

import csv
import json

import pytest
import torch
from composing import composed

from calib import export, sweep
from calib.config import ExportConfig
from calib.directions.direction import read_direction
from calib.errors import CalibError

TINY = (
    "data.limit=20", "data.parts=[image_centric]", "utility.limit=6",
    "generation.max_new_tokens=12",
)  # fmt: skip
FITTED = "directions/safety-mean_difference-last_prompt-residual.safetensors"


def run(out, *overrides):
    sweep.main(composed("sweep", *TINY, *overrides, f"out={out}"))
    return out


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run of three methods, one of which steers, under another name."""
    return run(
        tmp_path_factory.mktemp("runs") / "several", "method=none",
        "+method@methods.up=steer", "+method@methods.reminder=reminder",
        "+method@methods.ablate=ablate", "methods.up.name=climb", "methods.up.file=steer",
        "methods.ablate.layers=3", "methods.ablate.strengths=[-1]", "methods.up.layers=[4,5]",
        "methods.up.strengths=[-2,-1,1,2]", "methods.up.positions=response",
    )  # fmt: skip


def test_of_several_methods_the_steering_one_is_exported(several, capsys):
    export.main(ExportConfig(run=str(several)))
    written = several / "export" / "direction.safetensors"
    found, fitted = read_direction(written), read_direction(several / FITTED)
    points = {p["method"]: p for p in json.loads((several / "operating_points.json").read_text())}
    point = points["climb"]
    assert found.layers == [point["layer"]] == [found.chosen_layer]
    assert found.strength == point["strength"]
    assert (found.positions, found.operator) == ("response", "add")
    row = fitted.row(found.chosen_layer)
    assert torch.equal(found.vectors[0], fitted.vectors[row])
    said = capsys.readouterr().out
    assert f"method.direction={written} method.layers=[{point['layer']}]" in said
    # What was measured is its own: reminder stands at strength 1 too, ablate at -1.
    card = written.with_suffix(".md").read_text().partition("## Measured")[2]
    rows = [[cell.strip() for cell in line.split("|")] for line in card.splitlines()
            if line.startswith("| ")]  # fmt: skip
    assert [row[1] for row in rows] == ["strength", "-2", "-1", "uncalibrated", "1", "2"]
    with (several / "results.csv").open(newline="") as file:
        total = {"split": "test", "dataset": "all", "variant": "all", "category": "all"}
        sra = {
            (r["method"], r["layer"], float(r["strength"])): float(r["value"])
            for r in csv.DictReader(file)
            if r["metric"] == "SRA" and total.items() <= r.items()
        }
    column = rows[0].index("SRA")
    shown = {row[1]: row[column].split()[0] for row in rows[1:]}
    assert shown.pop("uncalibrated") == f"{sra['none', '', 0.0]:.3f}"
    layer = str(point["layer"])
    assert shown == {k: f"{sra['climb', layer, float(k)]:.3f}" for k in ("-2", "-1", "1", "2")}
    assert sra["climb", layer, 1.0] != sra["reminder", "", 1.0]


def test_a_run_of_the_exported_direction_can_be_exported(several, tmp_path):
    first = tmp_path / "first.safetensors"
    export.main(ExportConfig(run=str(several), out=str(first)))
    layer = read_direction(first).layers[0]
    again = run(
        tmp_path / "again", f"method.direction={first}", f"method.layers={layer}",
        "method.strengths=[1]",
    )  # fmt: skip
    first_direction = read_direction(first)
    first.unlink()  # the run keeps its own copy
    export.main(ExportConfig(run=str(again), out=str(tmp_path / "second.safetensors")))
    second = read_direction(tmp_path / "second.safetensors")
    assert torch.equal(second.vectors, first_direction.vectors)
    assert second.layers == [layer]


def test_a_file_is_converted_where_one_stands(several, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export.main(ExportConfig(direction=str(several / FITTED)))
    assert read_direction(tmp_path / "direction.safetensors").layers == [0, 1, 2, 3, 4, 5]
    assert "## Measured" not in (tmp_path / "direction.md").read_text()
    assert "method.layers=[0,1,2,3,4,5]" in capsys.readouterr().out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs that have no direction to give away."""
    folder = tmp_path_factory.mktemp("none")
    few = ("method.strengths=[1]", "utility=none")
    run(folder / "prompt", "method=reminder", "utility=none")
    run(folder / "other", "method=ablate", "method.layers=3", *few)
    run(folder / "gated", "method=steer", "method.gate=probe", "method.layers=3", *few)
    run(folder / "together", "method=steer", "method.together=true", *few)
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("prompt", "is a run of reminder, which has no direction to export. Give a run of method="),
        ("other", "is a run of ablate, which has no direction to export"),
        ("together", "which has no direction to export.*with one layer at a time"),
        ("gated", "behind a gate .method.gate=probe.*Give a run without one"),
        ("empty", "not a finished run of calib.sweep"),
    ],
)
def test_what_has_no_direction_is_refused(runs, name, words):
    with pytest.raises(CalibError, match=words):
        export.main(ExportConfig(run=str(runs / name)))
    assert not (runs / name / "export").exists()


def test_what_is_given_must_make_sense(several, tmp_path):
    for config in (ExportConfig(), ExportConfig(run=str(several), direction="file")):
        with pytest.raises(CalibError, match="give either run=FOLDER .* or direction=FILE"):
            export.main(config)
    with pytest.raises(CalibError, match="should be a file that ends in .safetensors"):
        export.main(ExportConfig(run=str(several), out=str(tmp_path / "direction.pt")))
    assert not list(tmp_path.iterdir())
