"""Rows, memory and time of a sweep before it starts, against those of the sweep."""

import json
import re
from dataclasses import replace

import pytest
from composing import composed
from in_process import command, undrawn

from calib.data.example import Example
from calib.engine.batches.decode_batch import SlotLayer
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.plan import _devices
from calib.runs.estimate import plan as planning
from calib.runs.estimate.counts import SplitCount
from calib.runs.estimate.plan import Memory, Plan, plan_sweep
from calib.runs.estimate.probe import Rates
from calib.runs.estimate.text import plan_line, plan_text
from calib.runs.preflight import load_inputs

SMALL = ("data.limit=16", "utility.limit=16", "generation.max_new_tokens=6")
STEER = ("method=steer", "method.layers=[2,4]", "method.strengths=[0.5,-1]")
CASES = {
    "steering": STEER,
    "prompts": ("method=reminder",),
    "a gate": (*STEER, "method.gate=probe"),
    "all layers at once": ("method=vti", "method.samples=safety"),
    "ablation": (
        "method=ablate",
        "method.selection=grid",
        "method.layers=[1,3]",
        "method.contrast=safety",
    ),
    "no method": ("method=none",),
}


def planned(*settings, measured=False):
    config = composed("sweep", *SMALL, *settings)
    inputs = load_inputs(config, "x")
    engine = Engine(inputs.model, Decoding.of(config.generation))
    examples = inputs.benchmark.examples, inputs.utility.examples
    return plan_sweep(config, inputs.model, *examples, engine, always=measured)


@pytest.mark.parametrize("case", CASES)
def test_a_sweep_has_at_most_the_planned_rows(tmp_path, case):
    plan = planned(*CASES[case])
    with undrawn():
        done = command("sweep", *SMALL, *CASES[case], f"out={tmp_path}/run", "report=false")
    assert done.code == 0, done.stderr
    lines = (tmp_path / "run" / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    by_split = {split.split: split.rows for split in plan.splits}
    for split in ("validation", "test"):
        made = sum(row["split"] == split for row in rows)
        assert made <= by_split[split]
        if case in ("steering", "no method"):
            assert split == "test" or made == by_split[split]
    assert f"{plan.rows:,} rows" in done.stderr


def test_planned_keys_and_values_are_those_of_the_run(tmp_path, monkeypatch):
    """Counted in bytes: prompts here are shorter than their bound by few tokens."""
    plan, allocated, allocate = planned(*STEER), [], SlotLayer._allocate

    def counting(layer, like, *how):
        allocate(layer, like, *how)
        allocated.append((layer.window, sum(t.numel() * t.element_size() for t in layer.stored)))

    monkeypatch.setattr(SlotLayer, "_allocate", counting)
    done = command("sweep", *SMALL, *STEER, f"out={tmp_path}/run", "report=false")
    assert done.code == 0, done.stderr
    caches = {}
    for window, size in allocated:
        caches[id(window)] = caches.get(id(window), 0) + size
    assert plan.memory.cache == pytest.approx(max(caches.values()), rel=0.25)


def test_a_plan_in_the_terminal_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("plan", *SMALL, *STEER)
    assert done.code == 0, done.stderr
    assert not list(tmp_path.iterdir())
    for part in ("validation", "test", "memory", "tokens per second", " 8 ", " 64 ", "derived"):
        assert part in done.stdout
    assert f"{planned(*STEER).rows:,}" in done.stdout


def test_a_plan_of_vllm_has_rows_requests_and_tokens():
    done = command("plan", *SMALL, *STEER, "engine=vllm")
    assert done.code == 0, done.stderr
    assert "requests" in done.stdout and "prompt tokens" in done.stdout
    assert "tokens per second" not in done.stdout


def test_short_sweeps_are_not_measured(monkeypatch):
    monkeypatch.setattr(planning, "measure", None)
    plan = planned(*STEER)
    assert plan.seconds() is None and plan.memory.total > 10**8
    assert "rows" in plan_line(plan)


def test_a_measured_plan_has_a_time():
    plan = planned(*STEER, measured=True)
    assert set(plan.rates) == {False, True} and plan.seconds() > 0
    assert all(rates.responses and rates.response_tokens <= 6 for rates in plan.rates.values())


RATES = Rates(20.0, 0.0, 0.5, 0.25, 64, 100, 10.0, 11.0, 8)
"""A prompt takes 0.5 s, the first token of a row 0.25 s, and the ten others one second."""


PLAIN = Example("a", "image_centric", "", "any", "test", "What is it?")


def plan_of(rates=RATES, segment=4):
    splits = [SplitCount(split, [PLAIN] * 8, 3, 1.0) for split in ("validation", "test")]
    memory = Memory(10**9, 10**8, 10**7, 10**6)
    return Plan(splits, [], 20, 32, segment, memory, 1000, {False: rates})


def test_time_is_that_of_prompts_first_tokens_and_further_tokens():
    plan = plan_of()
    rows, prompts = plan.rows, plan.rows / 3
    assert rows == 48
    assert plan.seconds() == pytest.approx(prompts * 0.5 + rows * (0.25 + 10 / 10))


def test_devices_divide_whole_segments_of_each_split():
    plan = plan_of()  # six segments in each of two splits
    one = plan.seconds()
    assert plan.seconds(2) == pytest.approx(one / 2)
    assert plan.seconds(4) == pytest.approx(one / 3)
    assert plan.seconds(64) == pytest.approx(one / 6)


def test_a_time_without_responses_is_an_upper_limit():
    assert "about" in plan_text(plan_of()).split("time ")[1].split("\n")[0]
    most = plan_of(replace(RATES, responses=0))
    assert "at most" in plan_line(most) and most.is_upper_bound


def test_saved_rows_shorten_the_time_left():
    times = [plan_line(plan_of(), saved) for saved in (0, 24)]
    seconds = [int(re.search(r"about (\d+) (s|min)", text)[1]) for text in times]
    assert seconds[1] < seconds[0] or "min" in times[0]


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        (("method=steer", "method.layers=[0,3]", "method.strengths=[1,2,0]"), (4, 2, 0.0, 0)),
        (("method=steer", "method.layers=[0,3]", "method.strengths=[1,2]", "method.positions=all"),
         (4, 2, 0.75, 0)),
        (("method=vti", "method.layers=[3,4]", "method.strengths=[1,2,3]"), (3, 3, 0.5, 0)),
        (("method=conditional", "method.layers=[3,4]", "method.strengths=[1]"), (1, 1, 0.5, 1)),
        (("method=ablate", "method.strengths=[1]"), (1, 1, 1.0, 0)),
        (("method=reminder", "method.strengths=[1,2,3]"), (3, 2, 1.0, 0)),
        (("method=few_shot", "method.strengths=[1,2,3]"), (3, 3, 1.0, 0)),
    ],
)  # fmt: skip
def test_settings_and_prompt_reads_of_a_method(settings, counts):
    """The 6 blocks above a first edited layer of 0, or 3 above layer 3, are read again."""
    grid = planned(*settings).grids[0]
    found = grid.settings, grid.tested, grid.prompt_reads, grid.prompts_once
    assert found == pytest.approx(counts)


def test_the_plan_leads_with_the_number_of_devices_that_is_given():
    first = plan_text(plan_of(), 8).split("time ")[1].split("\n")[0]
    assert "8" in first
    text = plan_text(plan_of())
    assert "this device" in text.split("time ")[1].split("\n")[0]
    assert plan_of().segments == 6 and "segments         6 " in text


def test_a_plan_of_one_segment_does_not_count_devices():
    text = plan_text(plan_of(segment=100))
    assert "segments         1 " in text and "more than" not in text


def test_a_busy_machine_is_named():
    assert "2.5 times" in plan_text(replace(plan_of(), computing=0.4))
    assert "busy" in plan_line(replace(plan_of(), computing=0.4))
    assert "busy" not in plan_text(plan_of())


@pytest.mark.parametrize(("setting", "count"), [("devices=3", 3), ("shard=1/8", 8), ("seed=1", 1)])
def test_devices_of_the_settings(setting, count):
    assert _devices(composed("plan", setting)) == count
