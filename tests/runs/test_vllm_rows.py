"""Rows generated through vLLM: recorded in order, resumed, and equal to the own engine's."""

import pytest
import torch
from backend_stand_in import StandIn

from calib.data.mini.examples import load
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding
from calib.engine.vllm.engine import VllmEngine
from calib.interventions.intervention import BASELINE, Intervention, Setting
from calib.runs.generate import generate
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.util.progress import row_bar

DECODING = Decoding(8)


@pytest.fixture
def stand_in(vlm):
    backend = StandIn(vlm, reverses=True)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def settings(vlm):
    drawn = torch.randn(vlm.width, generator=torch.Generator().manual_seed(3))
    return [
        BASELINE,
        *(
            Setting("steer", 3, s, Intervention((Edit(3, Add(s * drawn), "response"),)))
            for s in (0.25, -0.5)
        ),
    ]


@pytest.fixture(scope="module")
def examples():
    return [e for e in load(["image_centric", "text_centric"], limit=3) if e.split == "test"]


def recorded(engine, rows, path, early=None):
    with RowStore.open(path) as store, row_bar("rows", len(rows)) as bar:
        generate(Planner(engine), rows, store, early, bar)
        return [store.finished[row.id] for row in rows]


def test_records_are_those_of_the_own_engine(vlm, stand_in, examples, settings, tmp_path):
    rows = Planner(Engine(vlm, DECODING)).rows(examples, settings)
    own = recorded(Engine(vlm, DECODING), rows, tmp_path / "own.jsonl")
    engine = VllmEngine(vlm, DECODING, stand_in)
    through_vllm = recorded(engine, rows, tmp_path / "vllm.jsonl")
    for record, expected in zip(through_vllm, own, strict=True):
        for key in ("kl", "kl_base"):
            assert record.pop(key) == pytest.approx(expected.pop(key), abs=1e-4)
        assert record == expected


def test_responses_end_early_where_their_label_is_certain(
    vlm, stand_in, examples, settings, tmp_path
):
    def certain(example, response):
        return len(response) > 5

    rows = Planner(Engine(vlm, DECODING)).rows(examples, settings)
    own = recorded(Engine(vlm, DECODING), rows, tmp_path / "own.jsonl", certain)
    through_vllm = recorded(
        VllmEngine(vlm, DECODING, stand_in), rows, tmp_path / "vllm.jsonl", certain
    )
    assert [(r["response"], r["finish"]) for r in through_vllm] == [
        (r["response"], r["finish"]) for r in own
    ]
    assert "cut" in {record["finish"] for record in own}


def test_a_resumed_run_sends_the_missing_rows_only_and_has_the_same_record(
    vlm, stand_in, examples, settings, tmp_path
):
    path = tmp_path / "rows.jsonl"
    rows = Planner(Engine(vlm, DECODING)).rows(examples, settings)
    engine = VllmEngine(vlm, DECODING, stand_in)
    recorded(engine, rows, path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    sent = len(stand_in.sent)
    recorded(engine, rows, path)
    assert path.read_bytes() == whole
    assert len(stand_in.sent) - sent == 2
