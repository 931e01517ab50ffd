"""A sweep of a loaded model is the command's: the same rows, files and results."""

import pytest
from in_process import command
from raising import raises

import calib
from calib.api.model import Model
from calib.config.model import ModelConfig
from calib.util.errors import CalibError

pytestmark = pytest.mark.usefixtures("undrawn")
TINY = {
    "data.limit": 20, "data.parts": ["text_centric"], "data.split_by": "pair", "utility.limit": 6,
    "generation.max_new_tokens": 8, "method.layers": [3], "method.strengths": [2],
    "method@reference": "none",
}  # fmt: skip


def test_a_sweep_is_the_commands(vlm, tmp_path):
    run = Model(vlm).sweep("steer", out=tmp_path / "python", settings=TINY)
    assert isinstance(run, calib.Run) and str(tmp_path / "python") in repr(run)
    values = [f"{key}={value}".replace("'", "").replace(" ", "") for key, value in TINY.items()]
    done = command("sweep", "method=steer", "report=false", *values, f"out={tmp_path / 'shell'}")
    assert done.code == 0, done.stderr
    ours, theirs = tmp_path / "python", tmp_path / "shell"
    for file in ("results.csv", "operating_points.json"):
        texts = [(folder / file).read_text(encoding="utf-8") for folder in (ours, theirs)]
        assert texts[0].replace("python", "shell") == texts[1]
    (sra,) = run.results.where(metric="SRA", split="test", method="steer", dataset="all")
    assert sra.n > 0 and sra.low <= sra.value <= sra.high
    assert calib.Run.load(ours).results == run.results
    again = Model(vlm).sweep("steer", out=ours, settings=TINY)  # resumed: nothing to generate
    assert again.results == run.results
    with raises("different-run", ours):
        Model(vlm).sweep("steer", out=ours, settings=TINY | {"method.strengths": [4]})


def test_questions_suit_the_model_that_is_loaded(vlm, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    given = []

    def perform(config, *_):
        given.append(config.utility.name)
        raise CalibError("no-solution", "enough")

    monkeypatch.setattr("calib.api.sweeping.perform", perform)
    for checkpoint in (None, "Org/Model"):
        model = Model(vlm, ModelConfig("hf", checkpoint))
        with raises("no-solution", "enough"):
            model.sweep("steer", out=tmp_path / "run", settings=TINY)
    assert given == ["mini", "none"]
