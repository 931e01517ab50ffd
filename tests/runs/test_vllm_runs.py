"""A run that was made with engine=vllm needs no vLLM when it is finished."""

import json
import sys

import pytest
from backend_stand_in import StandIn
from in_process import command, undrawn

SMALL = (
    "method=steer", "method.layers=[3]", "method.strengths=[2]", "data.limit=12",
    "utility.limit=8", "generation.max_new_tokens=4", "report=false", "engine=vllm",
)  # fmt: skip


@pytest.fixture(scope="module")
def backends():
    """Those that were started."""
    return []


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, backends):
    """Run a finished sweep again in its folder, with a stand-in for vLLM."""
    folder = tmp_path_factory.mktemp("run")

    def start(choice, config, model, edits):
        backends.append(StandIn(model))
        return backends[-1]

    def run(*changes):
        with pytest.MonkeyPatch.context() as patch, undrawn():
            patch.setattr("calib.runs.engines.require_packages", lambda choice: None)
            patch.setattr("calib.runs.engines._started", start)
            return folder, command("sweep", *SMALL, f"out={folder}", *changes)

    done = run()[1]
    assert done.code == 0, done.stderr
    return run


def test_a_finished_run_starts_no_vllm(sweep, backends):
    folder, done = sweep()
    assert done.code == 0 and len(backends) == 1
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert manifest["provenance"]["engine"] == {"engine": "stand-in"}


def test_a_run_is_not_resumed_with_another_engine(sweep):
    _, done = sweep("engine=transformers")
    assert done.code == 2 and "[different-run]" in done.stderr
    assert 'engine: "vllm" → "transformers"' in done.stderr


def test_missing_packages_are_reported_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("calib.runs.preflight.load", lambda *_: pytest.fail("a model was loaded"))
    monkeypatch.setitem(sys.modules, "vllm", None)
    for name in ("sweep", "extract"):
        done = command(name, "engine=vllm", "model=internvl", f"out={tmp_path}")
        assert done.code == 2 and "[needs-package]" in done.stderr
