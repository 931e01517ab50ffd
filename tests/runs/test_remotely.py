"""Runs with a remote model: what is refused, what is recorded, and what a block means."""

import json

import pytest
from composing import composed
from local_endpoint import LocalEndpoint, says

from calib.config.model import RemoteModelConfig
from calib.data.example import Benchmark
from calib.data.mini.examples import load
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding
from calib.interventions.intervention import BASELINE, Intervention, Setting
from calib.judges.string import STRING
from calib.methods.ecso import EyesClosed
from calib.models.remote import RemoteModel
from calib.runs.generate import answer
from calib.runs.judging import Judging, judge_rows
from calib.runs.planning import Planner
from calib.runs.preflight import check_sweep, remote_answer_notes, sweep_notes
from calib.runs.row_store import ROWS_FILE, RowStore
from calib.util.errors import CalibError

CLAUDE = ["model=claude", "model.base_url=http://127.0.0.1:9/v1", "utility=mini"]
ECSO = Setting(
    "ecso", None, 1.0, Intervention(prompt_flow=EyesClosed("Harm?", "Caption?", "{query}"))
)


def planner(server, **settings):
    config = RemoteModelConfig(name="vllm", model="m", base_url=server.url, **settings)
    return Planner(RemoteEngine(RemoteModel(config), Decoding()))


def checked(*overrides):
    config = composed("sweep", *CLAUDE, *overrides)
    model = RemoteModel(config.model)
    benchmark = Benchmark(load(["image_centric"], 4))
    check_sweep(config, model, benchmark)
    return sweep_notes(config, model, benchmark.examples)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=steer"], "method=steer edits activations, and claude:.*shows none.*reminder"),
        (["method=steer", "method.layers=auto"], "method=steer edits activations"),
        (["method=shiftdc"], "method=shiftdc edits activations"),
        (["method=combine"], "method=combine edits activations"),
        (["method=reminder", "method.kl=0.1"], "method.kl=0.1 goes by.*has no KL"),
        (["method=none", "+method@methods.a=cot", "+method@methods.b=vti"], "method=vti edits"),
        (["method=cot", "generation.early_stop=true"], "early_stop means nothing.*paid for whole"),
        (["method=cot", "generation.batch_rows=8"], "batch_rows means nothing.*concurrency"),
        (["method=cot", "generation.memory_gb=1"], "memory_gb means nothing"),
        (["method=cot", "generation.sharing=false"], "sharing means nothing"),
        (["method=cot", "generation.temperature=1.5"], "temperature=1.5 is more than claude:"),
        (
            ["method=cot", "generation.temperature=0.5", "model.sends=[top_p]"],
            r"generation.temperature=0.5 is not sent.*model.sends=\[top_p\]",
        ),
        (
            ["method=cot", "generation.top_p=0.5", "model.sends=[temperature]"],
            "generation.top_p=0.5 is not sent",
        ),
        (["method=few_shot", "method.strengths=[0.5]"], "no number of demonstrations"),
    ],
)
def test_what_is_refused(overrides, words):
    with pytest.raises(CalibError, match=words):
        checked(*overrides)


def test_what_a_reader_is_told_beforehand():
    notes = checked("method=reminder", "generation.temperature=0.5")
    assert any("asked at http://127.0.0.1:9/v1" in note for note in notes)
    assert any("compatibility layer" in note for note in notes)
    assert any("takes no seed" in note for note in notes)
    assert not any("takes no seed" in note for note in checked("method=reminder"))


def test_rows_are_on_the_disk_before_more_is_asked(tmp_path):
    on_disk = []

    def act(request):
        on_disk.append(len((tmp_path / ROWS_FILE).read_text().splitlines()))
        return says("a door")

    examples = load(["image_centric"], 8)
    with LocalEndpoint(by=act) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server, concurrency=1)
        rows = answer(one, one.rows(examples, [BASELINE]), record)
        distinct = len({row.id for row in rows})
        assert on_disk == list(range(distinct))
        answer(one, one.rows(examples, [BASELINE]), record)
    assert len(server.requests) == distinct


def test_what_is_recorded(tmp_path):
    acts = says("A door.", model="m-1")
    with LocalEndpoint(acts) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server)
        answer(one, one.rows(load(["image_centric"], 2)[:1], [BASELINE]), record)
    (line,) = map(json.loads, (tmp_path / ROWS_FILE).read_text().splitlines())
    assert line["seconds"] >= 0
    shown = {name: line[name] for name in ("response", "finish", "kl", "model", "tokens")}
    assert shown == {"response": "A door.", "finish": "stop", "kl": None, "model": "m-1",
                     "tokens": 1}  # fmt: skip
    assert "blocked" not in line


def test_what_is_blocked_is_labelled_so_without_a_judge(tmp_path):
    class Asked:
        id, keeps, texts = "asked", False, []

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
        rows = answer(one, one.rows(examples, [BASELINE]), record)
        judge = Asked()
        judged = judge_rows(rows, record, Judging(judge, tmp_path))
        notes = remote_answer_notes(record)
    for example, found in zip(examples, judged, strict=True):
        asked = example.safety is not None
        held = example.query in blocked
        assert found.label == (None if not asked else "blocked" if held else "answer")
        assert found.correct == (None if asked else False)
        assert found.kl is None
    assert set(judge.texts) == {"A door."}
    assert any("blocked by the provider (content_filter)" in note for note in notes)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_block_ends_a_dialogue_and_counts(tmp_path, step):
    said = ["A door.", "Yes.", "A picture.", "A safe door."]
    acts = [says(text) for text in said]
    acts[step] = says("", "content_filter")
    with LocalEndpoint(*acts) as server, RowStore.open(tmp_path / ROWS_FILE) as record:
        one = planner(server)
        pictured = next(e for e in load(["image_centric"], 8) if e.picture is not None)
        (counts,) = answer(one, one.rows([pictured], [ECSO]), record)
        assert record.finished[counts.id]["finish"] == "blocked"
    assert len(server.requests) == step + 1


def test_notes_count_over_the_whole_record(tmp_path):
    with RowStore.open(tmp_path / ROWS_FILE) as record:
        assert remote_answer_notes(record) == []
        record.append([{"row": "local", "response": "", "finish": "length", "kl": 0.1}])
        assert remote_answer_notes(record) == []
        row = {"response": "", "finish": "length", "kl": None, "tokens": 3, "prompt_tokens": None}
        record.append([{"row": "a", "model": "m-1", **row}, {"row": "b", "model": "m-2", **row}])
        found = remote_answer_notes(record)
    assert found[0].startswith("2 rows were answered by m-1, m-2; 0 tokens read and 6 written")
    assert "more than one model answered" in found[1]
    assert "2 of 2 responses were cut before their first word" in found[2]
