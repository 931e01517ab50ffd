"""Sweeps of methods that read activations, with their fits, on vLLM and on transformers."""

import json
from pathlib import Path

import pytest
from in_process import command

SMALL = (
    "model=internvl", "data.limit=12", "utility.limit=8", "method.layers=[3]",
)  # fmt: skip
METHODS = ("conditional", "adaptive")
"""A gate, and coefficients that depend on the input."""

mini = pytest.mark.parametrize("world", ["mini_internvl"], indirect=True, scope="session")


@pytest.fixture
def shared(world, monkeypatch, undrawn):
    """Sweeps with engine=vllm use the vLLM that is up."""
    monkeypatch.setattr("calib.engine.vllm.in_process.InProcess", lambda *_: world.backend)
    monkeypatch.setattr(world.backend, "close", lambda: None)


def rows(method: str, engine: str, out: Path) -> dict[tuple[str, ...], dict[str, object]]:
    """The rows of a small sweep by example and setting.

    Ids are not compared, because directions differ in their last digits, nor the strength of a row
    without edits, which belongs to several settings.
    """
    done = command("sweep", *SMALL, f"method={method}", f"engine={engine}", f"out={out}")
    assert done.code == 0, done.stderr
    made = map(json.loads, (out / "rows.jsonl").read_text(encoding="utf-8").splitlines())
    keys = ("example", "split", "edits", "system", "demonstrations", "query")
    return {
        (*(str(row[key]) for key in keys), str(row["edits"] and row["strength"])): row
        for row in made
    }


@mini
@pytest.mark.parametrize("method", METHODS)
def test_rows_are_equal(method, shared, tmp_path):
    ours, theirs = (rows(method, e, tmp_path / e) for e in ("transformers", "vllm"))
    assert ours.keys() == theirs.keys() and any(row["edits"] for row in ours.values())
    assert {row["finish"] for row in ours.values()} <= {"stop", "length"}
    for key, row in ours.items():
        for field in ("response", "tokens", "finish"):
            assert theirs[key][field] == row[field]
        assert theirs[key]["kl"] == pytest.approx(row["kl"], rel=1e-2, abs=2e-5)
