"""Rows: named by what determines them, computed once, the same however the run was cut up."""

import dataclasses
import json

import pytest
import torch

from calib.data.mini.examples import load
from calib.engine.decoding import Decoding
from calib.engine.edit import Edit
from calib.engine.generate import Engine
from calib.engine.operators import Add
from calib.errors import CalibError
from calib.methods.setting import BASELINE, Setting
from calib.runs.answering import answer, plan_rows
from calib.runs.record import Rows


@pytest.fixture(scope="module")
def examples():
    found = load(["image_centric", "text_centric", "utility"], limit=4)
    return [example for example in found if example.split == "test"]


@pytest.fixture(scope="module")
def settings(vlm):
    drawn = torch.randn(vlm.width, generator=torch.Generator().manual_seed(3))
    steered = [
        Setting("steer", layer, strength, (Edit(layer, Add(strength * drawn)),))
        for layer in (1, 4)
        for strength in (-0.5, 0.25)
    ]
    return [BASELINE, *steered, Setting("steer", 1, 0.0)]


@pytest.fixture(scope="module")
def engine(vlm):
    return Engine(vlm, Decoding(max_new_tokens=8, batch_rows=10))


def test_ids_name_what_determines_a_row(vlm, engine, examples, settings):
    rows = plan_rows(engine, examples, settings)
    by = {(row.example.id, row.setting): row.id for row in rows}
    first = examples[0].id
    ids = [by[first, setting] for setting in settings]
    assert len(set(ids[:-1])) == len(ids) - 1
    assert ids[-1] == ids[0]  # strength 0 is the uncalibrated model
    assert [row.id for row in plan_rows(engine, examples, settings)] == [row.id for row in rows]

    def first_id(asked=examples[0], vlm=vlm, cut_by="", **decoding):
        how = Decoding(**{"max_new_tokens": 8} | decoding)
        return plan_rows(Engine(vlm, how), [asked], [BASELINE], cut_by)[0].id

    others = [
        first_id(max_new_tokens=9),
        first_id(temperature=0.5),
        first_id(temperature=0.5, seed=1),
        first_id(temperature=0.5, top_p=0.9),
        first_id(cut_by="rules"),
        first_id(vlm=dataclasses.replace(vlm, fingerprint="other")),
        first_id(dataclasses.replace(examples[0], system="Hello.")),
    ]
    assert len({ids[0], *others}) == 1 + len(others)
    same = dataclasses.replace(examples[0], id="renamed", category="renamed")
    assert first_id(same) == first_id(batch_rows=3, memory=10**6, sharing=False) == ids[0]


def answered(engine, rows, path):
    with Rows.open(path) as record:
        answer(engine, rows, record)
    return path.read_bytes()


def test_any_interruption_gives_the_same_bytes(engine, examples, settings, tmp_path):
    rows = plan_rows(engine, examples, settings)
    whole = answered(engine, rows, tmp_path / "whole.jsonl")
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len({row.id for row in rows})
    for kept, torn in ((0, b""), (10, b""), (13, b""), (20, lines[20][:37])):
        path = tmp_path / f"cut_{kept}.jsonl"
        path.write_bytes(b"".join(lines[:kept]) + torn)
        assert answered(engine, rows, path) == whole


def test_finished_rows_are_not_computed_again(engine, examples, settings, tmp_path, monkeypatch):
    rows = plan_rows(engine, examples, settings)
    path = tmp_path / "rows.jsonl"
    before = answered(engine, rows, path)
    monkeypatch.setattr(engine, "answer", lambda *a, **k: pytest.fail("computed again"))
    assert answered(engine, rows, path) == before


def test_batch_size_changes_no_response(vlm, engine, examples, settings, tmp_path):
    rows = plan_rows(engine, examples, settings)

    def responses(batch_rows):
        engine = Engine(vlm, Decoding(max_new_tokens=8, batch_rows=batch_rows))
        data = answered(engine, rows, tmp_path / f"{batch_rows}.jsonl")
        found = [json.loads(line) for line in data.splitlines()]
        return {one["row"]: (one["response"], one["tokens"]) for one in found}

    assert responses(3) == responses(50)


def test_kl_is_zero_without_an_edit_and_positive_with_one(engine, examples, settings, tmp_path):
    rows = plan_rows(engine, examples, settings)
    with Rows.open(tmp_path / "rows.jsonl") as record:
        answer(engine, rows, record)
        kl = {True: [], False: []}
        for row in rows:
            kl[bool(row.setting.edits)].append(record.finished[row.id]["kl"])
    assert set(kl[False]) == {0}
    assert min(kl[True]) >= 0
    assert sum(value > 0 for value in kl[True]) > len(kl[True]) / 2


def test_output_that_is_not_finite_keeps_finished_rows(vlm, engine, examples, tmp_path):
    path = tmp_path / "rows.jsonl"
    good = plan_rows(engine, examples, [BASELINE])
    kept = answered(engine, good, path)
    broken = Setting("steer", 2, 1.0, (Edit(2, Add(torch.full((vlm.width,), float("inf")))),))
    rows = plan_rows(engine, examples, [BASELINE, broken])
    with pytest.raises(CalibError, match=r"not finite .* steer at layer 2, strength 1"):
        answered(engine, rows, path)
    assert path.read_bytes() == kept


def test_progress_counts_every_row_once(engine, examples, settings, tmp_path):
    class Bar:
        count = 0

        def update(self, n):
            self.count += n

    rows = plan_rows(engine, examples, settings)
    bar = Bar()
    with Rows.open(tmp_path / "rows.jsonl") as record:
        answer(engine, rows, record, progress=bar)
    assert bar.count == len({row.id for row in rows})
