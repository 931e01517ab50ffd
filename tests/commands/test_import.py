"""calib.import: a third-party file becomes a direction that a sweep steers with."""

import csv
import importlib
import json
from pathlib import Path

import pytest
import torch
from composing import composed
from raising import raises
from random_directions import direction_at

from calib import export, sweep
from calib.config.commands import ExportConfig
from calib.directions.direction import read_direction, write_direction
from calib.interchange.gguf import gguf_bytes

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def gguf(vlm, tmp_path):
    path = tmp_path / "vector.gguf"
    fitted = direction_at(vlm, [2, 3])
    path.write_bytes(gguf_bytes({}, {f"direction.{n}": fitted.at(n, 4.0) for n in (2, 3)}))
    return path


def run_import(*overrides):
    importlib.import_module("calib.import").main(composed("import", *overrides))


def test_a_control_vector_steers_a_sweep(gguf, vlm, tmp_path, capsys):
    out = tmp_path / "d.safetensors"
    run_import(f"file={gguf}", "format=gguf", f"out={out}")
    printed = capsys.readouterr().out
    assert "direction.N" in printed
    assert f"method.direction={out} method.layers=[2,3] method.strengths=[1]" in printed
    assert "vector.gguf" in Path(f"{out}.md").read_text(encoding="utf-8")
    assert torch.allclose(read_direction(out).at(3, 1.0), direction_at(vlm, [2, 3]).at(3, 4.0))
    run = tmp_path / "run"
    steer = (
        "data.limit=20", "data.parts=[image_centric]", "utility.limit=6", "method=steer",
        "generation.max_new_tokens=12", f"method.direction={out}", "method.layers=3",
        "method@reference=none",
    )  # fmt: skip
    sweep.main(composed("sweep", *steer, "method.strengths=[-2,2]", f"out={run}"))
    with (run / "results.csv").open(newline="", encoding="utf-8") as file:
        strengths = {float(r["strength"]) for r in csv.DictReader(file) if r["method"] == "steer"}
    assert strengths == {-2.0, 2.0}
    assert json.loads((run / "operating_points.json").read_text(encoding="utf-8"))[0]["layer"] in (
        3,
        None,
    )


def test_an_export_keeps_the_card_of_the_import(gguf, tmp_path, capsys):
    out, again = tmp_path / "caa.safetensors", tmp_path / "caa.gguf"
    run_import(f"file={gguf}", "format=gguf", f"out={out}")
    card = Path(f"{out}.md").read_text(encoding="utf-8")
    export.main(ExportConfig(direction=str(out), format="gguf", layers=[3], out=str(again)))
    assert f"card       {again}.md" in capsys.readouterr().out
    assert Path(f"{again}.md").is_file()
    assert Path(f"{out}.md").read_text(encoding="utf-8") == card


@pytest.mark.parametrize("operator", ["linear", "clamp"])
def test_operators_that_need_the_class_means_are_refused(gguf, tmp_path, operator):
    out = tmp_path / "d.safetensors"
    run_import(f"file={gguf}", "format=gguf", f"out={out}")
    with raises("conflicting-settings", f"method.operator={operator}"):
        sweep.main(
            composed(
                "sweep", "method=steer", f"method.direction={out}", "method.layers=3",
                f"method.operator={operator}", "method.strengths=[0.5]", f"out={tmp_path / 'run'}",
            )
        )  # fmt: skip


def test_a_native_direction_is_checked_and_copied(vlm, tmp_path):
    given, out = tmp_path / "given.safetensors", tmp_path / "out.safetensors"
    write_direction(given, direction_at(vlm, [3]))
    run_import(f"file={given}", "format=native", f"out={out}")
    assert torch.equal(read_direction(out).vectors, read_direction(given).vectors)
    write_direction(given, direction_at(vlm, [3], fingerprint="another"))
    with raises("mismatch", given, "mini-internvl", "another"):
        run_import(f"file={given}", "format=native", f"out={out}")


def test_a_direction_is_downloaded_from_the_hub(vlm, tmp_path, monkeypatch):
    requests = []

    def from_hub(repo, revision, file):
        requests.append((repo, revision, file))
        return direction_at(vlm, [3])

    monkeypatch.setattr("calib.interchange.hub.from_hub", from_hub)
    out = tmp_path / "out.safetensors"
    run_import("file=null", "hub=me/refusal", "revision=v1", "format=native", f"out={out}")
    assert requests == [("me/refusal", "v1", "direction.safetensors")]
    assert read_direction(out).layers == [3]


def test_an_output_file_has_the_native_ending(gguf):
    with raises("invalid-setting", "out=d.pt", ".safetensors"):
        run_import(f"file={gguf}", "out=d.pt")
