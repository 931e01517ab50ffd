"""Rows: named by what determines them, computed once, the same however the run was cut up."""

import dataclasses
import json

import pytest
import torch

from calib.data.mini.examples import load
from calib.errors import CalibError
from calib.methods.setting import BASELINE, Setting
from calib.runs.answering import answer, plan_rows
from calib.runs.record import Rows
from calib.vlm.editing import Edit


@pytest.fixture(scope="module")
def examples():
    found = load(["image_centric", "text_centric", "utility"], limit=4)
    return [example for example in found if example.split == "test"]


@pytest.fixture(scope="module")
def settings(vlm):
    drawn = torch.randn(vlm.width, generator=torch.Generator().manual_seed(3))
    steered = [
        Setting("steer", layer, strength, (Edit(layer, strength * drawn),))
        for layer in (1, 4)
        for strength in (-0.5, 0.25)
    ]
    return [BASELINE, *steered, Setting("steer", 1, 0.0)]


def test_ids_name_what_determines_a_row(vlm, examples, settings):
    rows = plan_rows(vlm, examples, settings, 8)
    by = {(row.example.id, row.setting): row.id for row in rows}
    first = examples[0].id
    ids = [by[first, setting] for setting in settings]
    assert len(set(ids[:-1])) == len(ids) - 1
    assert ids[-1] == ids[0]  # strength 0 is the uncalibrated model
    assert [row.id for row in plan_rows(vlm, examples, settings, 8)] == [row.id for row in rows]

    longer = plan_rows(vlm, examples[:1], [BASELINE], 9)[0].id
    other_model = plan_rows(
        dataclasses.replace(vlm, fingerprint="other"), examples[:1], [BASELINE], 8
    )[0].id
    asked = dataclasses.replace(examples[0], system="Hello.")
    other_prompt = plan_rows(vlm, [asked], [BASELINE], 8)[0].id
    renamed = dataclasses.replace(examples[0], id="renamed", category="renamed")
    assert len({ids[0], longer, other_model, other_prompt}) == 4
    assert plan_rows(vlm, [renamed], [BASELINE], 8)[0].id == ids[0]


def answered(vlm, rows, path, batch_rows=10):
    with Rows.open(path) as record:
        answer(vlm, rows, record, 8, batch_rows)
    return path.read_bytes()


def test_any_interruption_gives_the_same_bytes(vlm, examples, settings, tmp_path):
    rows = plan_rows(vlm, examples, settings, 8)
    whole = answered(vlm, rows, tmp_path / "whole.jsonl")
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len({row.id for row in rows})
    for kept, torn in ((0, b""), (10, b""), (13, b""), (20, lines[20][:37])):
        path = tmp_path / f"cut_{kept}.jsonl"
        path.write_bytes(b"".join(lines[:kept]) + torn)
        assert answered(vlm, rows, path) == whole


def test_finished_rows_are_not_computed_again(vlm, examples, settings, tmp_path, monkeypatch):
    rows = plan_rows(vlm, examples, settings, 8)
    path = tmp_path / "rows.jsonl"
    before = answered(vlm, rows, path)
    monkeypatch.setattr(
        "calib.runs.answering.generate", lambda *a, **k: pytest.fail("computed again")
    )
    assert answered(vlm, rows, path) == before


def test_batch_size_changes_no_response(vlm, examples, settings, tmp_path):
    rows = plan_rows(vlm, examples, settings, 8)

    def responses(batch_rows):
        data = answered(vlm, rows, tmp_path / f"{batch_rows}.jsonl", batch_rows)
        found = [json.loads(line) for line in data.splitlines()]
        return {one["row"]: (one["response"], one["tokens"]) for one in found}

    assert responses(3) == responses(50)


def test_kl_is_zero_without_an_edit_and_positive_with_one(vlm, examples, settings, tmp_path):
    rows = plan_rows(vlm, examples, settings, 8)
    with Rows.open(tmp_path / "rows.jsonl") as record:
        answer(vlm, rows, record, 8, 7)  # cuts prompts from their uncalibrated rows
        kl = {True: [], False: []}
        for row in rows:
            kl[bool(row.setting.edits)].append(record.finished[row.id]["kl"])
    assert set(kl[False]) == {0}
    assert min(kl[True]) >= 0
    assert sum(value > 0 for value in kl[True]) > len(kl[True]) / 2


def test_output_that_is_not_finite_keeps_finished_rows(vlm, examples, tmp_path):
    path = tmp_path / "rows.jsonl"
    good = plan_rows(vlm, examples, [BASELINE], 8)
    kept = answered(vlm, good, path)
    broken = Setting("steer", 2, 1.0, (Edit(2, torch.full((vlm.width,), float("inf"))),))
    rows = plan_rows(vlm, examples, [BASELINE, broken], 8)
    with pytest.raises(CalibError, match=r"not finite .* steer at layer 2, strength 1"):
        answered(vlm, rows, path)
    assert path.read_bytes() == kept


def test_progress_counts_every_row_once(vlm, examples, settings, tmp_path):
    class Bar:
        count = 0

        def update(self, n):
            self.count += n

    rows = plan_rows(vlm, examples, settings, 8)
    bar = Bar()
    with Rows.open(tmp_path / "rows.jsonl") as record:
        answer(vlm, rows, record, 8, 10, bar)
    assert bar.count == len({row.id for row in rows})
