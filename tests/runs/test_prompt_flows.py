"""Prompt flows of several steps: generating, recording, counting and replaying their steps."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from calib.data.mini.examples import load
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding
from calib.interventions.intervention import BASELINE, Intervention, Setting, SinglePrompt
from calib.methods.ecso import EyesClosed
from calib.runs.generate import generate
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore
from calib.util.progress import row_bar

ECSO = EyesClosed("Is this dangerous?", "What is this?", "{caption} {query}", "first_word")


@dataclass(frozen=True)
class Counting:
    """Asks one question more than the example's answer; takes the response to the middle one."""

    multi_step: ClassVar[bool] = True
    questions: ClassVar[tuple[str, ...]] = ("What is this?", "Where is it?", "What colour is it?")

    def next(self, example, responses):
        steps = 1 + int(example.answer)
        if len(responses) == steps:
            return steps // 2
        return replace(example, query=self.questions[len(responses)])


@pytest.fixture(scope="module")
def engine(vlm):
    return Engine(vlm, Decoding(max_new_tokens=12, batch_rows=3))


@pytest.fixture(scope="module")
def examples():
    found = load(["image_centric", "text_centric"], limit=24)
    some = [e for e in found if e.split == "test" and e.dataset == "image_centric"][:10]
    some += [e for e in found if e.split == "test" and e.dataset == "text_centric"][:6]
    plain = [e for e in load(["text_centric"]) if e.split == "test" and not e.picture][:4]
    return [*some, *plain]


@pytest.fixture(scope="module")
def settings(vlm):
    drawn = torch.randn(vlm.width, generator=torch.Generator().manual_seed(3))
    edits = (Edit(2, Add(0.5 * drawn)),)
    return [
        Setting("ecso", None, 1.0, Intervention(prompt_flow=ECSO)),
        BASELINE,
        Setting("combine", 2, 1.0, Intervention(edits, prompt_flow=ECSO)),
        Setting("reminder", None, 1.0, Intervention(prompt_flow=SinglePrompt(_reminded))),
    ]


def _reminded(example):
    return replace(example, system="Be kind.")


def run(engine, examples, settings, path, cut_by="", is_final=None, planner=None):
    planner = planner or Planner(engine, cut_by)
    with RowStore.open(path) as record:
        rows = planner.rows(examples, settings)
        counting = generate(planner, rows, record, is_final)
        return rows, counting, dict(record.finished)


def test_unflagged_rows_share_the_baselines_row_and_flagged_ones_continue(
    engine, examples, settings, tmp_path
):
    rows, counting, finished = run(engine, examples, settings[:2], tmp_path / "rows.jsonl")
    flags = []
    for first, counts, (base, base_counts) in zip(
        rows[::2], counting[::2], zip(rows[1::2], counting[1::2], strict=True), strict=True
    ):
        assert first.id == base.id == base_counts.id  # step 1 is the baseline's row
        check = next(
            one for one in finished.values()
            if one["example"] == first.example.id and one["query"] == "Is this dangerous?"
        )  # fmt: skip
        flagged = check["response"].startswith("Yes")
        flags.append(flagged)
        assert (counts.id != base.id) == flagged
        assert counts.setting is settings[0] and counts.example is first.example
        if flagged:
            assert counts.reference is first.prompt
            assert counts.prompt.picture is None
            assert len(counts.earlier_responses) == (3 if first.example.picture else 2)
        else:
            assert finished[counts.id]["kl"] == 0
    assert 4 <= sum(flags) <= len(flags) - 4
    pictured = sum(f and e.picture is not None for f, e in zip(flags, examples, strict=True))
    # Equal steps of different examples share a row: one check per picture, and no row twice.
    assert len(finished) <= 2 * len(examples) + sum(flags) + pictured
    assert len({one["row"] for one in finished.values()}) == len(finished)


def test_the_response_of_the_returned_step_is_the_methods(engine, examples, tmp_path):
    some = [replace(e, answer=str(k % 3)) for k, e in enumerate(examples[:6])]
    setting = Setting("counting", None, 1.0, Intervention(prompt_flow=Counting()))
    rows, counting, finished = run(engine, some, [setting], tmp_path / "rows.jsonl")
    for k, row in enumerate(counting):
        steps = 1 + k % 3
        assert row.prompt.query == Counting.questions[steps // 2]
        assert finished[row.id]["query"] == row.prompt.query
        assert len(row.earlier_responses) == steps // 2
    assert [row.prompt.query for row in rows] == ["What is this?"] * 6
    asked = [one["query"] for one in finished.values()]
    assert [asked.count(question) for question in Counting.questions] == [6, 4, 2]


def test_steps_are_counted_once_they_are_known(engine, examples, tmp_path):
    some = [replace(e, answer=str(k % 3)) for k, e in enumerate(examples[:6])]
    rows = Planner(engine).rows(
        some, [Setting("counting", None, 1.0, Intervention(prompt_flow=Counting()))]
    )
    step = row_bar("test", len(rows))
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        generate(Planner(engine), rows, record, progress=step)
    assert (step.done, step.total) == (12, 12)  # 6 first steps, then 4 and 2 more


def test_a_resumed_run_replays_every_step_without_generating(
    engine, examples, settings, tmp_path, monkeypatch
):
    path = tmp_path / "rows.jsonl"
    _, before, _ = run(engine, examples, settings, path)
    data = path.read_bytes()
    monkeypatch.setattr(engine, "answer", lambda *a, **k: pytest.fail("computed again"))
    _, after, _ = run(engine, examples, settings, path)
    assert [row.id for row in after] == [row.id for row in before]
    assert [row.earlier_responses for row in after] == [row.earlier_responses for row in before]
    assert path.read_bytes() == data


def test_a_run_killed_within_or_between_steps_ends_in_the_same_bytes(
    engine, examples, settings, tmp_path
):
    whole = tmp_path / "whole.jsonl"
    examples = examples[::2]
    rows, counting, _ = run(engine, examples, settings, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    first = len({row.id for row in rows})
    assert len(lines) > first + 10
    steps = [json.loads(line)["query"] for line in lines[first:]]
    captions = first + steps.index("What is this?")  # where the third step begins
    for kept in (first, first + 3, captions + 1, len(lines) - 1):
        path = tmp_path / f"cut_{kept}.jsonl"
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
        _, again, _ = run(engine, examples, settings, path)
        assert path.read_bytes() == whole.read_bytes()
        assert [row.id for row in again] == [row.id for row in counting]


def test_prompt_flows_are_not_cut_where_the_label_is_final(engine, examples, settings, tmp_path):
    """A judge whose label is final after the first word cuts rows of one step only."""
    path = tmp_path / "rows.jsonl"
    rows, counting, finished = run(
        engine, examples[:4], settings, path, "hasty", lambda example, text: bool(text)
    )
    plain_rows, plain_counting, plain = run(
        engine, examples[:4], settings, tmp_path / "plain.jsonl"
    )
    for k, (row, counts) in enumerate(zip(rows, counting, strict=True)):
        if row.may_continue:
            assert counts.id == plain_counting[k].id
            assert finished[counts.id] == plain[counts.id]
        else:
            assert row.id == counts.id != plain_rows[k].id
            assert finished[row.id]["finish"] == "cut"
            assert finished[row.id]["tokens"] < plain[plain_rows[k].id]["tokens"]
    steps = [one for one in finished.values() if one["query"] == "Is this dangerous?"]
    assert steps and {one["finish"] for one in steps} == {"stop"}


def test_sampled_responses_are_equal_in_every_run(vlm, examples, settings, tmp_path):
    """Sampling is seeded per row: an interrupted prompt flow resumes with the same words."""
    engine = Engine(vlm, Decoding(max_new_tokens=12, batch_rows=3, temperature=2.0))
    whole = tmp_path / "whole.jsonl"
    rows, *_ = run(engine, examples[:8], settings[:3], whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    kept = len({row.id for row in rows}) + 1
    path = tmp_path / "cut.jsonl"
    path.write_bytes(b"".join(lines[:kept]))
    run(engine, examples[:8], settings[:3], path)
    assert path.read_bytes() == whole.read_bytes()
