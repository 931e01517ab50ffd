"""calib.export: the direction of a steering run as a file with a card, and refused exports."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from composing import composed
from in_process import undrawn
from raising import raises

from calib import export, sweep
from calib.config.commands import ExportConfig
from calib.config.model import ModelConfig
from calib.directions.direction import read_direction
from calib.interchange.gguf import read_control_vector
from calib.report.sentences import verdict_note
from calib.runs.export import target_model
from calib.runs.run import Run

TINY = (
    "data.limit=20", "data.parts=[image_centric]", "utility.limit=6",
    "generation.max_new_tokens=12", "method@reference=none",
)  # fmt: skip
FITTED = "directions/safety-mean_difference-last_prompt-residual.safetensors"


def run(out, *overrides):
    with undrawn():
        sweep.main(composed("sweep", *TINY, *overrides, f"out={out}"))
    return out


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run of three methods; one of them steers and has another name."""
    return run(
        tmp_path_factory.mktemp("runs") / "several", "method=none",
        "+method@methods.up=steer", "+method@methods.reminder=reminder",
        "+method@methods.ablate=ablate", "methods.up.name=climb", "methods.up.file=steer",
        "methods.ablate.layers=3", "methods.ablate.strengths=[-1]", "methods.up.layers=[4,5]",
        "methods.up.strengths=[-2,-1,1,2]", "methods.up.positions=response",
    )  # fmt: skip


def test_of_several_methods_the_steering_method_is_exported(several, capsys):
    export.main(ExportConfig(run=str(several)))
    written = several / "export" / "direction.safetensors"
    found, fitted = read_direction(written), read_direction(several / FITTED)
    points = {
        p["method"]: p
        for p in json.loads((several / "operating_points.json").read_text(encoding="utf-8"))
    }
    point = points["climb"]
    assert found.layers == [point["layer"]] == [found.chosen_layer]
    assert found.strength == point["strength"]
    assert (found.positions, found.operator) == ("response", "add")
    assert found.verdict == verdict_note(Run.load(several), "climb") != ""
    row = fitted.row(found.chosen_layer)
    assert torch.equal(found.vectors[0], fitted.vectors[row])
    printed = capsys.readouterr().out
    assert f"method.direction={written} method.layers=[{point['layer']}]" in printed
    # The card has the method's own results: reminder was at strength 1 too, ablate at -1.
    card = Path(f"{written}.md").read_text(encoding="utf-8").partition("## Measured")[2]
    rows = [[cell.strip() for cell in line.split("|")] for line in card.splitlines()
            if line.startswith("| ")]  # fmt: skip
    assert [row[1] for row in rows] == ["strength", "-2", "-1", "uncalibrated", "1", "2"]
    with (several / "results.csv").open(newline="", encoding="utf-8") as file:
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
    first.unlink()  # the run has its own copy
    export.main(ExportConfig(run=str(again), out=str(tmp_path / "second.safetensors")))
    second = read_direction(tmp_path / "second.safetensors")
    assert torch.equal(second.vectors, first_direction.vectors)
    assert second.layers == [layer]


def test_a_strength_of_zero_is_not_suggested(several, tmp_path, capsys):
    out = str(tmp_path / "zero.safetensors")
    export.main(ExportConfig(direction=str(several / FITTED), layers=3, strength=0, out=out))
    printed = capsys.readouterr().out
    assert "method.strengths=[" not in printed and "set method.strengths" in printed
    out = str(tmp_path / "zero.gguf")
    export.main(ExportConfig(direction=out[:-4] + "safetensors", format="gguf", out=out))
    assert "set strength" in capsys.readouterr().out


def test_a_file_is_converted_in_the_current_folder(several, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export.main(ExportConfig(direction=str(several / FITTED)))
    assert read_direction(tmp_path / "direction.safetensors").layers == [0, 1, 2, 3, 4, 5]
    assert "## Measured" not in (tmp_path / "direction.safetensors.md").read_text(encoding="utf-8")
    assert "method.layers=[0,1,2,3,4,5]" in capsys.readouterr().out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs without a direction to export."""
    folder = tmp_path_factory.mktemp("none")
    few = ("method.strengths=[1]", "utility=none")
    run(folder / "prompt", "method=reminder", "utility=none")
    run(folder / "other", "method=ablate", "method.layers=3", *few)
    run(folder / "gated", "method=steer", "method.gate=probe", "method.layers=3", *few)
    run(folder / "together", "method=steer", "method.all_layers_at_once=true", *few)
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "code", "values"),
    [
        ("prompt", "unsupported", ["reminder", "method="]),
        ("other", "unsupported", ["ablate"]),
        ("together", "unsupported", ["steer"]),
        ("gated", "unsupported", ["method.gate=probe"]),
        ("empty", "unfinished-run", []),
    ],
)
def test_runs_without_a_direction_are_refused(runs, name, code, values):
    with raises(code, runs / name, *values):
        export.main(ExportConfig(run=str(runs / name)))
    assert not (runs / name / "export").exists()


def test_invalid_arguments_are_refused(several, tmp_path):
    with raises("missing-setting", "run=", "direction="):
        export.main(ExportConfig())
    with raises("conflicting-settings", "run=", "direction="):
        export.main(ExportConfig(run=str(several), direction="file"))
    with raises("invalid-setting", tmp_path / "direction.pt", ".safetensors"):
        export.main(ExportConfig(run=str(several), out=str(tmp_path / "direction.pt")))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory):
    """A run that steers every token."""
    return run(
        tmp_path_factory.mktemp("runs") / "everywhere", "method=steer", "method.layers=3",
        "method.strengths=[-1,1]", "method.positions=all",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "file", "usage"),
    [
        ("gguf", "direction-gguf.gguf", "llama-mtmd-cli -m MODEL.gguf .*--control-vector-scaled"),
        ("repeng", "direction-repeng.gguf", r"repeng.ControlModel\(model, layer_ids=\[3\]\)"),
        ("easysteer", "direction-easysteer.gguf", r"target_layers=\[3\]"),
        ("lm_eval", "direction-lm_eval.pt", "SteeredModel"),
    ],
)
def test_formats_of_other_programs_come_with_their_usage(everywhere, capsys, name, file, usage):
    export.main(ExportConfig(run=str(everywhere), format=name))
    out = everywhere / "export" / file
    assert out.is_file()
    card = Path(f"{out}.md").read_text(encoding="utf-8")
    assert re.search(usage, capsys.readouterr().out) and re.search(usage, card)
    assert "## Measured" in card


def test_a_baked_checkpoint_is_a_folder_with_a_card(everywhere, capsys):
    export.main(ExportConfig(run=str(everywhere), format="baked", strength=1.5))
    out = everywhere / "export" / "baked"
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {p.name for p in out.iterdir()}
    card = (out / "README.md").read_text(encoding="utf-8")
    assert r"bias of \`mlp.down\_proj\` in decoder block 3" in card
    assert "| default strength | 1.5" in card
    assert f"vllm serve {out}" in capsys.readouterr().out
    with raises("already-exists", out):
        export.main(ExportConfig(run=str(everywhere), format="baked", strength=1.5))


def test_a_direction_that_a_format_cannot_express_is_refused(several, tmp_path):
    with raises("unsupported", "gguf", "positions", "'response'"):
        export.main(ExportConfig(run=str(several), format="gguf", out=str(tmp_path / "v.gguf")))
    with raises("invalid-setting", tmp_path / "v.gguf", ".pt"):
        export.main(ExportConfig(run=str(several), format="lm_eval", out=str(tmp_path / "v.gguf")))
    assert not list(tmp_path.iterdir())


def test_layers_and_strength_are_exported(several, tmp_path):
    fitted, out = several / FITTED, tmp_path / "v.gguf"
    export.main(
        ExportConfig(direction=str(fitted), format="gguf", layers=[2, 4], strength=-3, out=str(out))
    )
    assert sorted(read_control_vector(out)) == [2, 4]
    native = tmp_path / "d.safetensors"
    export.main(ExportConfig(direction=str(fitted), layers=4, strength=0.5, out=str(native)))
    assert (read_direction(native).layers, read_direction(native).strength) == ([4], 0.5)


def test_the_model_is_that_of_the_run_or_the_given_one(everywhere, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    direction = read_direction(
        everywhere / "directions/safety-mean_difference-last_prompt-residual.safetensors"
    )
    chosen = target_model(ModelConfig("internvl"), direction, Run.load(everywhere))
    assert chosen == ModelConfig("internvl")
    given = ModelConfig("internvl", dtype="bfloat16")
    assert target_model(given, direction, Run.load(everywhere)) == given
    named = dataclasses.replace(direction, checkpoint="some/model", revision="v1")
    assert target_model(given, named, None) == dataclasses.replace(
        given, checkpoint="some/model", revision="v1"
    )
    with raises("mismatch", "mini-internvl"):
        export.main(
            ExportConfig(
                run=str(everywhere), format="lm_eval", model=given, out=str(tmp_path / "v.pt")
            )
        )
    assert not (tmp_path / "v.pt").exists()


def test_an_export_is_pushed_with_its_card(everywhere, tmp_path, monkeypatch, capsys):
    pushed = []

    def push(repo, files, private):
        pushed.append((repo, dict(files), private))
        return "https://hub.example/me/x"

    monkeypatch.setattr("calib.runs.export.push_to_hub", push)
    out = tmp_path / "mine.safetensors"
    export.main(ExportConfig(run=str(everywhere), out=str(out), push="me/x"))
    export.main(
        ExportConfig(
            run=str(everywhere), format="baked", out=str(tmp_path / "b"), push="me/y",
            strength=1, private=False,
        )
    )  # fmt: skip
    (repo, files, private), (other, folder, public) = pushed
    assert (repo, private, other, public) == ("me/x", True, "me/y", False)
    assert files["direction.safetensors"] == out
    assert b"# Steering direction for mini-internvl" in files["README.md"]
    assert {"model.safetensors", "config.json", "README.md"} <= set(folder)
    assert folder["README.md"].startswith(b"---\n")
    assert "pushed to  https://hub.example/me/x" in capsys.readouterr().out


def test_a_file_in_a_folder_has_the_default_name(several, tmp_path):
    export.main(ExportConfig(run=str(several), out=str(tmp_path / "vectors")))
    assert (tmp_path / "vectors" / "direction.safetensors").is_file()
    assert (tmp_path / "vectors" / "direction.safetensors.md").is_file()
    export.main(ExportConfig(run=str(several), out=str(tmp_path)))
    assert (tmp_path / "direction.safetensors").is_file()
