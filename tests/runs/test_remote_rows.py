"""Runs of a remote model: refused settings, recorded rows, blocked responses and notes."""

import json
import re

import pytest
from composing import composed
from local_endpoint import LocalEndpoint, fails, says
from raising import raises

from calib.config.model import RemoteModelConfig
from calib.data.example import Benchmark
from calib.data.mini.examples import load
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding
from calib.interventions.intervention import BASELINE, Intervention, Setting
from calib.judges.string import STRING
from calib.methods.ecso import EyesClosed
from calib.models.remote import RemoteModel
from calib.runs.checks.responses import remote_response_notes
from calib.runs.generate import generate
from calib.runs.labels.judging import Judging, judge_rows
from calib.runs.planning import Planner
from calib.runs.preflight import check_sweep, sweep_notes
from calib.runs.row_store import ROWS_FILE, RowStore
from calib.scoring.judged import is_judged, unjudged

CLAUDE = ["model=claude", "model.base_url=http://127.0.0.1:9/v1", "utility=mini"]
ECSO = Setting(
    "ecso", None, 1.0, Intervention(prompt_flow=EyesClosed("Harm?", "Caption?", "{query}"))
)


def planner(server, skip_long=False, **settings):
    config = RemoteModelConfig(name="vllm", model="m", base_url=server.url, **settings)
    return Planner(RemoteEngine(RemoteModel(config), Decoding(), skip_long))


def checked(*overrides):
    config = composed("sweep", *CLAUDE, *overrides)
    model = RemoteModel(config.model)
    benchmark = Benchmark(load(["image_centric"], 4))
    check_sweep(config, model, benchmark)
    return sweep_notes(config, model, benchmark.examples)


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        (["method=steer"], "unsupported", ["method=steer", "claude:", "reminder"]),
        (["method=steer", "method.layers=auto"], "unsupported", ["method=steer"]),
        (["method=shiftdc"], "unsupported", ["method=shiftdc"]),
        (["method=combine"], "unsupported", ["method=combine"]),
        (["method=reminder", "method.kl=0.1"], "unsupported", ["method.kl=0.1"]),
        (["method=none", "+method@methods.a=cot", "+method@methods.b=vti"], "unsupported",
         ["method=vti"]),
        (["method=cot", "generation.early_stop=true"], "unsupported", ["early_stop"]),
        (["method=cot", "generation.batch_rows=8"], "unsupported",
         ["batch_rows", "model.concurrency"]),
        (["method=cot", "generation.memory_gb=1"], "unsupported", ["memory_gb"]),
        (["method=cot", "generation.sharing=false"], "unsupported", ["sharing"]),
        (["method=cot", "generation.temperature=1.5"], "too-large", ["1.5", "claude:"]),
        (["method=cot", "generation.temperature=0.5", "model.sends=[top_p]"], "unsupported",
         ["generation.temperature=0.5", "model.sends=[top_p]"]),
        (["method=cot", "generation.top_p=0.5", "model.sends=[temperature]"], "unsupported",
         ["generation.top_p=0.5"]),
        (["method=few_shot", "method.strengths=[0.5]"], "invalid-setting", ["0.5"]),
    ],
)  # fmt: skip
def test_settings_that_a_remote_model_lacks_are_refused(overrides, code, values):
    with raises(code, *values):
        checked(*overrides)


def test_notes_before_a_remote_run():
    notes = checked("method=reminder", "generation.temperature=0.5")
    assert any("http://127.0.0.1:9/v1" in note for note in notes)
    # A model that takes no seed has one note more where responses are drawn.
    assert len(notes) == len(checked("method=reminder")) + 1 and "seed" in " ".join(notes)


def test_rows_are_recorded_before_further_requests(tmp_path):
    on_disk = []

    def act(request):
        on_disk.append(len((tmp_path / ROWS_FILE).read_text(encoding="utf-8").splitlines()))
        return says("a door")

    examples = load(["image_centric"], 8)
    with LocalEndpoint(by=act) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server, concurrency=1)
        rows = generate(one, one.rows(examples, [BASELINE]), record)
        distinct = len({row.id for row in rows})
        assert on_disk == list(range(distinct))
        generate(one, one.rows(examples, [BASELINE]), record)
    assert len(server.requests) == distinct


def test_the_record_of_a_remote_response(tmp_path):
    acts = says("A door.", model="m-1")
    with LocalEndpoint(acts) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server)
        generate(one, one.rows(load(["image_centric"], 2)[:1], [BASELINE]), record)
    (line,) = map(json.loads, (tmp_path / ROWS_FILE).read_text(encoding="utf-8").splitlines())
    assert line["seconds"] >= 0
    shown = {name: line[name] for name in ("response", "finish", "kl", "model", "tokens")}
    assert shown == {"response": "A door.", "finish": "stop", "kl": None, "model": "m-1",
                     "tokens": 1}  # fmt: skip
    assert "blocked" not in line


def test_blocked_responses_are_labelled_without_a_judge(tmp_path):
    class Asked:
        id, costly, texts = "asked", False, []

        def __call__(self, said, tell=None):
            self.texts += [one.response for one in said]
            return STRING(said)

    examples = load(["image_centric", "utility"], 4)
    blocked = {examples[0].query, next(e.query for e in examples if e.dataset == "utility")}

    def act(request):
        words = request.user if isinstance(request.user, str) else request.user[1]["text"]
        return says("I'm", "content_filter") if words in blocked else says("A door.")

    with LocalEndpoint(by=act) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server)
        rows = generate(one, one.rows(examples, [BASELINE]), record)
        judge = Asked()
        judged = judge_rows(rows, record, Judging(judge, tmp_path))
        notes = remote_response_notes(record)
    for example, found in zip(examples, judged, strict=True):
        asked = example.safety is not None
        held = example.query in blocked
        assert found.label == (None if not asked else "blocked" if held else "answer")
        assert found.correct == (None if asked else False)
        assert found.kl is None
    assert set(judge.texts) == {"A door."}
    assert any("(content_filter)" in note for note in notes)


def test_prompts_that_are_too_long_cost_no_other_row(tmp_path):
    examples = load(["image_centric", "utility"], 4)
    long = {examples[0].query, next(e.query for e in examples if e.dataset == "utility")}

    def act(request):
        words = request.user if isinstance(request.user, str) else request.user[1]["text"]
        return fails(400, "maximum context length") if words in long else says("A door.")

    ids = {example.id for example in examples if example.query in long}
    with LocalEndpoint(by=act) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server, concurrency=1)
        rows = one.rows(examples, [BASELINE])
        with raises("too-large", *ids, "data.skip_long"):
            generate(one, rows, record)
        assert {row["example"] for row in record.finished.values()}.isdisjoint(ids)
        assert len(record.finished) == len({row.id for row in rows if row.example.id not in ids})
        sent = len(server.requests)
        skipping = planner(server, skip_long=True)
        rows = generate(skipping, skipping.rows(examples, [BASELINE]), record)
        assert len(server.requests) - sent == len({r.id for r in rows if r.example.id in ids})
        judged = judge_rows(rows, record, Judging(STRING, tmp_path))
        notes = remote_response_notes(record)
    assert unjudged(judged) == sum(example.id in ids for example in examples)
    assert all(is_judged(row) == (row.example_id not in ids) for row in judged)
    assert any("data.skip_long" in note for note in notes)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_prompt_that_is_too_long_ends_a_prompt_flow(tmp_path, step):
    acts = [says(text) for text in ("A door.", "Yes.", "A picture.", "A safe door.")]
    acts[step] = fails(400, code="context_length_exceeded")
    with LocalEndpoint(*acts) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server, skip_long=True)
        pictured = next(e for e in load(["image_centric"], 8) if e.picture is not None)
        (counts,) = generate(one, one.rows([pictured], [ECSO]), record)
        assert record.finished[counts.id]["finish"] == "too_long"
    assert len(server.requests) == step + 1


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_block_ends_a_prompt_flow(tmp_path, step):
    said = ["A door.", "Yes.", "A picture.", "A safe door."]
    acts = [says(text) for text in said]
    acts[step] = says("", "content_filter")
    with LocalEndpoint(*acts) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server)
        pictured = next(e for e in load(["image_centric"], 8) if e.picture is not None)
        (counts,) = generate(one, one.rows([pictured], [ECSO]), record)
        assert record.finished[counts.id]["finish"] == "blocked"
    assert len(server.requests) == step + 1


def test_notes_count_over_the_whole_record(tmp_path):
    with RowStore.open(tmp_path / ROWS_FILE) as record:
        assert remote_response_notes(record) == []
        record.append([{"row": "local", "response": "", "finish": "length", "kl": 0.1}])
        assert remote_response_notes(record) == []
        row = {"response": "", "finish": "length", "kl": None, "tokens": 3, "prompt_tokens": None}
        record.append([{"row": "a", "model": "m-1", **row}, {"row": "b", "model": "m-2", **row}])
        found = remote_response_notes(record)
    assert found[0].startswith("2 rows") and "m-1, m-2" in found[0]
    assert re.findall(r" (\d+) ", found[0]) == ["0", "6"]
    assert len(found) == 3 and found[2].startswith("2 of 2 responses")


@pytest.mark.parametrize(
    ("counts", "noted"),
    [((9, 9, 7, 7), True), ((9, 20, 7, 7), False), ((9, 20, 7, 18), False)],
)
def test_a_note_says_that_system_prompts_did_not_arrive(tmp_path, counts, noted):
    row = {"response": "a", "finish": "stop", "kl": None, "tokens": 1, "model": "m"}
    rows = [
        {"row": f"{k}", "example": f"e{k // 2}", "query": "a", "demonstrations": 0,
         "system": "Be kind." if k % 2 else None, "prompt_tokens": count, **row}
        for k, count in enumerate(counts)
    ]  # fmt: skip
    with RowStore.open(tmp_path / ROWS_FILE) as record:
        record.append(rows[:1])
        assert len(remote_response_notes(record)) == 1
        record.append(rows[1:])
        found = [note for note in remote_response_notes(record) if "system_place=user" in note]
    assert [re.findall("all (\\d+) prompts", note) for note in found] == ([["2"]] if noted else [])
