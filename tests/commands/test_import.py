"""calib.import: a third-party file becomes a direction that a sweep steers with."""

import csv
import importlib
import json

import pytest
import torch
from composing import composed
from random_directions import direction_at

from calib import sweep
from calib.directions.direction import read_direction, write_direction
from calib.interchange.gguf import gguf_bytes
from calib.util.errors import CalibError

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def gguf(vlm, tmp_path):
    path = tmp_path / "others.gguf"
    fitted = direction_at(vlm, [2, 3])
    path.write_bytes(gguf_bytes({}, {f"direction.{n}": fitted.at(n, 4.0) for n in (2, 3)}))
    return path


def run_import(*overrides):
    importlib.import_module("calib.import").main(composed("import", *overrides))


def test_a_control_vector_steers_a_sweep(gguf, vlm, tmp_path, capsys):
    out = tmp_path / "d.safetensors"
    run_import(f"file={gguf}", "format=gguf", f"out={out}")
    said = capsys.readouterr().out
    assert "direction.N is the output of block N" in said
    assert f"method.direction={out} method.layers=[2,3] method.strengths=[1]" in said
    card = out.with_suffix(".md").read_text()
    assert "Imported from others.gguf" in card
    assert torch.allclose(read_direction(out).at(3, 1.0), direction_at(vlm, [2, 3]).at(3, 4.0))
    run = tmp_path / "run"
    steer = (
        "data.limit=20", "data.parts=[image_centric]", "utility.limit=6", "method=steer",
        "generation.max_new_tokens=12", f"method.direction={out}", "method.layers=3",
        "method@reference=none",
    )  # fmt: skip
    sweep.main(composed("sweep", *steer, "method.strengths=[-2,2]", f"out={run}"))
    with (run / "results.csv").open(newline="") as file:
        strengths = {float(r["strength"]) for r in csv.DictReader(file) if r["method"] == "steer"}
    assert strengths == {-2.0, 2.0}
    assert json.loads((run / "operating_points.json").read_text())[0]["layer"] in (3, None)


@pytest.mark.parametrize("operator", ["linear", "clamp"])
def test_operators_that_need_to_know_the_classes_are_refused(gguf, tmp_path, operator):
    out = tmp_path / "d.safetensors"
    run_import(f"file={gguf}", "format=gguf", f"out={out}")
    with pytest.raises(CalibError, match=f"method.operator={operator} needs to know where the two"):
        sweep.main(
            composed(
                "sweep", "method=steer", f"method.direction={out}", "method.layers=3",
                f"method.operator={operator}", "method.strengths=[0.5]", f"out={tmp_path / 'run'}",
            )
        )  # fmt: skip


def test_a_direction_of_calib_is_checked_and_copied(vlm, tmp_path):
    given, out = tmp_path / "given.safetensors", tmp_path / "out.safetensors"
    write_direction(given, direction_at(vlm, [3]))
    run_import(f"file={given}", "format=native", f"out={out}")
    assert torch.equal(read_direction(out).vectors, read_direction(given).vectors)
    write_direction(given, direction_at(vlm, [3], fingerprint="another"))
    with pytest.raises(CalibError, match="was read from mini-internvl .another., not from"):
        run_import(f"file={given}", "format=native", f"out={out}")


def test_one_is_taken_from_the_hub(vlm, tmp_path, monkeypatch):
    asked = []

    def fetched(repo, revision, file):
        asked.append((repo, revision, file))
        return direction_at(vlm, [3])

    monkeypatch.setattr("calib.interchange.hub.from_hub", fetched)
    out = tmp_path / "out.safetensors"
    run_import("file=null", "hub=me/refusal", "revision=v1", "format=native", f"out={out}")
    assert asked == [("me/refusal", "v1", "direction.safetensors")]
    assert read_direction(out).layers == [3]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("format=ggfu",), "format: 'ggfu'.*Did you mean 'gguf'"),
        (("hub=me/x",), "give either file=FILE or, with format=native, hub=USER/NAME"),
        (("file=null", "hub=me/x"), "hub is read with format=native only, not gguf"),
        (("format=native", "shift=1"), "Leave shift and layers away"),
        (("format=native", "layers=[1]"), "Leave shift and layers away"),
        (("out=d.pt",), "out=d.pt should be a file that ends in .safetensors"),
    ],
)
def test_what_is_given_must_make_sense(overrides, words):
    with pytest.raises(Exception, match=words):
        run_import(*overrides)
