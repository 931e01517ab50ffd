"""The vLLM of a run: recorded before its first row, and the same in all sessions."""

import json
from types import SimpleNamespace

import pytest
from raising import raises

from calib.runs.engines import claim_engine

FIRST = {"vllm": "0.32.0", "dtype": "float32", "kv_cache_dtype": "auto", "replicas": 1}


def backend(**described):
    return SimpleNamespace(describe=lambda: described)


def manifest(engine=None):
    recorded = {"engine": engine} if engine else {}
    return {"identity": {}, "provenance": {"date": "2026-11-30"} | recorded}


@pytest.fixture
def with_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n", encoding="utf-8")
    return tmp_path


def recorded(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))["provenance"]["engine"]


@pytest.mark.parametrize("before", [None, FIRST | {"vllm": "0.31.0"}])
def test_the_vllm_of_the_first_row_is_recorded(before, tmp_path):
    made = manifest(before)
    assert claim_engine(tmp_path, made, backend(**FIRST)) == []
    assert recorded(tmp_path) == FIRST == made["provenance"]["engine"]


def test_a_run_is_resumed_with_the_vllm_of_its_rows(with_rows):
    assert claim_engine(with_rows, manifest(FIRST), backend(**FIRST | {"replicas": 4})) == []
    assert not (with_rows / "run.json").exists()


def test_a_run_is_not_resumed_with_another_vllm(with_rows):
    other = backend(vllm="0.33.0", dtype="bfloat16")
    with raises("different-run", with_rows, "vllm: 0.32.0 → 0.33.0", "dtype: float32 → bfloat16"):
        claim_engine(with_rows, manifest(FIRST), other)


def test_rows_of_shards_count_as_rows(tmp_path):
    (tmp_path / "shards").mkdir()
    with raises("different-run", "vllm"):
        claim_engine(tmp_path, manifest(FIRST), backend(vllm="0.33.0"))


def test_what_a_server_does_not_say_is_a_note(with_rows):
    (note,) = claim_engine(with_rows, manifest(FIRST), backend(dtype="float32", vllm=None))
    assert "vllm 0.32.0" in note and "kv_cache_dtype auto" in note and "dtype float32" not in note
