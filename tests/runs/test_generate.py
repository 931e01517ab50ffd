"""Planning and generating rows: ids, shared prompts, interruptions, records and progress."""

import copy
import json
from dataclasses import dataclass, replace

import pytest
import torch
from raising import raises

from calib.data.example import Turn
from calib.data.mini.examples import load
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Response
from calib.interventions.intervention import BASELINE, Intervention, Setting, SinglePrompt
from calib.runs.checks.responses import length_notes, overflow_notes
from calib.runs.generate import generate
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore, read_rows
from calib.util.thoughts import after_thoughts, settled_beginning


def edited(layer, strength, drawn, positions="all", site="residual"):
    edits = (Edit(layer, Add(strength * drawn), positions, site),)
    return Setting("steer", layer, strength, Intervention(edits))


def prompted(rewrite, *edits):
    return Setting("prompt", None, 1.0, Intervention(edits, prompt_flow=SinglePrompt(rewrite)))


@pytest.fixture(scope="module")
def drawn(vlm):
    return torch.randn(vlm.width, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def examples():
    found = load(["image_centric", "text_centric", "utility"], limit=4)
    return [example for example in found if example.split == "test"]


@pytest.fixture(scope="module")
def settings(drawn):
    steered = [edited(layer, s, drawn) for layer in (1, 4) for s in (-0.5, 0.25)]
    shown = prompted(lambda example: replace(example, system="Be kind."))
    return [BASELINE, *steered, shown, Setting("steer", 1, 0.0)]


@pytest.fixture(scope="module")
def engine(vlm):
    return Engine(vlm, Decoding(max_new_tokens=8, batch_rows=10))


def test_responses_that_were_cut_are_counted(vlm, examples, tmp_path):
    def notes(length):
        planner = Planner(Engine(vlm, Decoding(length)))
        rows = planner.rows(examples, [BASELINE])
        with RowStore.open(tmp_path / f"{length}.jsonl") as store:
            generate(planner, rows, store)
            ids = [row.id for row in rows]
            return length_notes([*ids, *ids], store, "generation.max_new_tokens", length)

    (note,) = notes(2)
    count = len({Planner(Engine(vlm, Decoding())).rows([e], [BASELINE])[0].id for e in examples})
    assert f"{count} of {count} responses were cut at 2 tokens" in note
    assert not notes(32)


OPEN, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"


def thinking(vlm, end):
    """The model with a chat template that puts ``end`` at the end of every prompt."""
    processor = copy.copy(vlm.processor)
    processor.chat_template += "{% if add_generation_prompt %}{{ " + repr(end) + " }}{% endif %}"
    return replace(vlm, processor=processor, fingerprint=f"with {end!r}")


@pytest.mark.parametrize("end", [OPEN, CLOSED])
@pytest.mark.parametrize("limit", [1, 8])
def test_a_thought_that_the_template_opened_is_recorded_with_its_tag(
    vlm, examples, tmp_path, end, limit
):
    engine = Engine(thinking(vlm, end), Decoding(max_new_tokens=limit, batch_rows=10))
    rows = Planner(engine).rows(examples, [BASELINE])
    with RowStore.open(tmp_path / "rows.jsonl") as store:
        generate(Planner(engine), rows, store)
        records = [store.finished[row.id] for row in rows]
    assert all(record["response"].startswith("<think>") == (end is OPEN) for record in records)
    assert all((after_thoughts(r["response"]) is None) == (end is OPEN) for r in records)


@pytest.mark.parametrize("end", [OPEN, CLOSED])
def test_what_ends_a_response_early_sees_the_opened_thought(vlm, examples, tmp_path, end):
    engine = Engine(thinking(vlm, end), Decoding(max_new_tokens=2, batch_rows=10))
    rows = Planner(engine).rows(examples, [BASELINE])
    seen = []
    with RowStore.open(tmp_path / "rows.jsonl") as store:
        generate(Planner(engine), rows, store, lambda example, text: bool(seen.append(text)))
    assert seen and all(settled_beginning(text) == "" for text in seen) == (end is OPEN)


def test_later_steps_see_earlier_responses_without_thoughts(engine, examples):
    @dataclass(frozen=True)
    class Repeats:
        multi_step: bool = True

        def next(self, example, responses):
            said = "/".join(responses)
            return 2 if len(responses) > 2 else replace(example, query=f"{example.query}{said}")

    planner = Planner(engine)
    setting = Setting("repeats", None, 1.0, Intervention(prompt_flow=Repeats()))
    (row,) = planner.rows(examples[:1], [setting])
    (row,) = planner.next_steps([row], ["<think>Hm.</think>Yes"])
    assert row.prompt.query == f"{examples[0].query}Yes"
    (row,) = planner.next_steps([row], ["<think>Cut off"])
    assert row.prompt.query == f"{examples[0].query}Yes/"
    assert planner.next_steps([row], ["No"]) == [2]


def test_settings_of_one_example_are_adjacent(engine, examples, settings):
    rows = Planner(engine).rows(examples, settings)
    assert [row.example for row in rows] == [e for e in examples for _ in settings]
    assert [row.setting for row in rows] == settings * len(examples)


def test_ids_depend_on_everything_that_a_response_depends_on(
    vlm, engine, examples, settings, drawn
):
    rows = Planner(engine).rows(examples, settings)
    ids = [row.id for row in rows][: len(settings)]
    assert len(set(ids[:-1])) == len(ids) - 1
    assert ids[-1] == ids[0]  # strength 0 is the uncalibrated model
    assert [row.id for row in Planner(engine).rows(examples, settings)] == [row.id for row in rows]

    def one_id(example=examples[0], vlm=vlm, cut_by="", setting=BASELINE, **decoding):
        settings = Decoding(**{"max_new_tokens": 8} | decoding)
        return Planner(Engine(vlm, settings), cut_by).rows([example], [setting])[0].id

    turn = Turn("Is it red?", "It is red.")
    others = [
        one_id(max_new_tokens=9),
        one_id(temperature=0.5),
        one_id(temperature=0.5, seed=1),
        one_id(temperature=0.5, top_p=0.9),
        one_id(cut_by="rules"),
        one_id(cut_by="string"),
        one_id(vlm=replace(vlm, fingerprint="other")),
        one_id(replace(examples[0], system="Hello.")),
        one_id(replace(examples[0], query="Hello?")),
        one_id(replace(examples[0], picture=None)),
        one_id(replace(examples[0], demonstrations=(turn,))),
        one_id(replace(examples[0], demonstrations=(turn, turn))),
        one_id(replace(examples[0], response_prefix="You can")),
        one_id(setting=edited(1, 0.5, drawn)),
        one_id(setting=edited(1, 0.5, drawn, "response")),
        one_id(setting=edited(1, 0.5, drawn, site="mlp")),
        one_id(setting=edited(2, 0.5, drawn)),
        # A prompt that a method rewrites has its KL against the unedited prompt.
        one_id(setting=prompted(lambda e: replace(e, system="Hello."))),
        one_id(setting=prompted(lambda e: replace(e, system="Hello."), Edit(1, Add(drawn)))),
    ]
    assert len({ids[0], *others}) == 1 + len(others)
    same = replace(examples[0], id="renamed", category="renamed", safety=None, answer="?")
    assert one_id(same) == one_id(batch_rows=3, memory=10**6, sharing=False) == ids[0]
    renamed = replace(edited(1, 0.5, drawn), method="other", strength=7.0)
    assert one_id(setting=renamed) == one_id(setting=edited(1, 0.5, drawn))
    assert one_id(setting=prompted(lambda e: replace(e, id="as it was"))) == ids[0]


def test_the_reference_is_the_unedited_prompt_where_a_method_rewrites_it(engine, examples):
    shown = prompted(lambda e: replace(e, system="Be kind."))
    same = prompted(lambda e: replace(e, category="other"))
    told = replace(examples[0], system="Be kind.")
    first, second, third, fourth = (
        Planner(engine).rows([example], [setting])[0]
        for example, setting in (
            (examples[0], shown), (examples[0], same), (told, BASELINE), (examples[0], BASELINE),
        )
    )  # fmt: skip
    assert (first.prompt.system, first.reference) == ("Be kind.", examples[0])
    assert second.reference is third.reference is fourth.reference is None
    assert first.prompt_hash == third.prompt_hash != second.prompt_hash == fourth.prompt_hash
    assert first.id != third.id


def test_examples_with_equal_prompts_share_one_object_and_one_row(engine, examples):
    planner = Planner(engine)
    twin = replace(examples[0], id="twin", split="train")
    shown = prompted(lambda e: replace(e, system="Be kind."))
    rows = planner.rows([examples[0], twin], [BASELINE, shown])
    assert rows[0].prompt is rows[2].prompt and rows[1].prompt is rows[3].prompt
    assert rows[1].reference is rows[3].reference is examples[0]
    assert [row.id for row in rows[:2]] == [row.id for row in rows[2:]]
    assert [row.example.id for row in rows[2:]] == ["twin", "twin"]
    (later,) = planner.rows([replace(examples[0], system="Be kind.")], [BASELINE])
    assert later.prompt is rows[1].prompt


def test_a_rule_is_called_once_with_all_prompts_as_the_model_sees_them(engine, examples, drawn):
    asked = []

    def rule(shown):
        asked.append([(e.id, e.system) for e in shown])
        return [(Edit(1, Add(drawn)),) if e.id == examples[1].id else () for e in shown]

    dialogue = SinglePrompt(lambda e: replace(e, system="Be kind."))
    setting = Setting("gated", 1, 1.0, Intervention(rule=rule, prompt_flow=dialogue))
    rows = Planner(engine).rows(examples, [BASELINE, setting])
    assert asked == [[(e.id, "Be kind.") for e in examples]]
    edits = [len(row.edits) for row in rows if row.setting is setting]
    assert edits == [int(e is examples[1]) for e in examples]
    assert all(row.edits == () for row in rows if row.setting is BASELINE)


def answered(engine, rows, path):
    with RowStore.open(path) as record:
        final = generate(Planner(engine), rows, record)
        assert final == rows
    return path.read_bytes()


def test_any_interruption_gives_the_same_bytes(engine, examples, settings, tmp_path):
    rows = Planner(engine).rows(examples, settings)
    whole = answered(engine, rows, tmp_path / "whole.jsonl")
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len({row.id for row in rows})
    for kept, torn in ((0, b""), (10, b""), (13, b""), (20, lines[20][:37])):
        path = tmp_path / f"cut_{kept}.jsonl"
        path.write_bytes(b"".join(lines[:kept]) + torn)
        assert answered(engine, rows, path) == whole


def test_finished_rows_are_not_computed_again(engine, examples, settings, tmp_path, monkeypatch):
    rows = Planner(engine).rows(examples, settings)
    path = tmp_path / "rows.jsonl"
    before = answered(engine, rows, path)
    monkeypatch.setattr(engine, "answer", lambda *a, **k: pytest.fail("computed again"))
    assert answered(engine, rows, path) == before


def test_batch_size_changes_no_response(vlm, engine, examples, settings, tmp_path):
    rows = Planner(engine).rows(examples, settings)

    def responses(batch_rows):
        engine = Engine(vlm, Decoding(max_new_tokens=8, batch_rows=batch_rows))
        data = answered(engine, rows, tmp_path / f"{batch_rows}.jsonl")
        found = [json.loads(line) for line in data.splitlines()]
        return {one["row"]: (one["response"], one["tokens"]) for one in found}

    assert responses(3) == responses(50)


def test_the_record_has_the_prompt_and_the_edits(engine, examples, drawn, tmp_path):
    turn = Turn("Is it red?", "It is red.")
    setting = prompted(
        lambda e: replace(e, query="Hello?", system="Be kind.", demonstrations=(turn, turn)),
        Edit(2, Add(drawn), "response", "mlp"),
    )
    rows = Planner(engine).rows(examples[:1], [setting])
    found = json.loads(answered(engine, rows, tmp_path / "rows.jsonl"))
    assert found["row"] == rows[0].id
    assert {key: found[key] for key in ("example", "dataset", "split", "strength")} == {
        "example": examples[0].id,
        "dataset": examples[0].dataset,
        "split": "test",
        "strength": 1.0,
    }
    shown = (found["query"], found["system"], found["demonstrations"])
    assert shown == ("Hello?", "Be kind.", 2)
    assert found["edits"] == [
        {"layer": 2, "site": "mlp", "operator": "add", "positions": "response"}
    ]


def test_kl_is_zero_without_an_edit_and_positive_with_one(engine, examples, settings, tmp_path):
    rows = Planner(engine).rows(examples, settings)
    with RowStore.open(tmp_path / "rows.jsonl") as record:
        generate(Planner(engine), rows, record)
        kl = {True: [], False: []}
        for row in rows:
            kl[bool(row.edits or row.reference)].append(record.finished[row.id]["kl"])
    assert set(kl[False]) == {0}
    assert min(kl[True]) >= 0
    assert sum(value > 0 for value in kl[True]) > len(kl[True]) / 2


def test_numbers_that_overflow_under_an_edit_are_recorded_by_row(vlm, engine, examples, tmp_path):
    broken = edited(2, 1.0, torch.full((vlm.width,), float("inf")))
    rows = Planner(engine).rows(examples, [BASELINE, broken])
    with RowStore.open(tmp_path / "rows.jsonl") as store:
        generate(Planner(engine), rows, store)
        for row in rows:
            record = store.finished[row.id]
            assert (record["finish"] == "not_finite") == bool(row.edits)
            assert (record["kl"] is None) == bool(row.edits)
        (note,) = overflow_notes([row.id for row in rows], store)
        assert f"{len(examples)} of {len(rows)}" in note and "strengths 1" in note
        assert overflow_notes([row.id for row in rows if not row.edits], store) == []
    assert list(read_rows(tmp_path / "rows.jsonl")) == list(store.finished)


def test_numbers_that_overflow_without_an_edit_are_an_error(
    engine, examples, monkeypatch, tmp_path
):
    rows = Planner(engine).rows(examples, [BASELINE])
    overflowed = Response("", (), "not_finite", kl=float("nan"))
    monkeypatch.setattr(Engine, "answer", lambda self, requests, *_: [overflowed] * len(requests))
    with (
        RowStore.open(tmp_path / "rows.jsonl") as store,
        raises("not-finite", "none", "model.dtype=float32"),
    ):
        generate(Planner(engine), rows, store)


class Counted:
    """A progress bar that counts its calls."""

    def __init__(self):
        self.done = self.skipped = self.kept = self.further = self.tokens = 0

    def update(self, count):
        self.done += count

    def skip(self, count, kept):
        self.skipped += count
        self.kept += kept

    def extend(self, count):
        self.further += count

    def expect_tokens(self, before):
        self.before = before

    def count_tokens(self, count):
        self.tokens += count


def test_progress_counts_every_token_of_shared_and_of_separate_rows(
    vlm, examples, settings, tmp_path
):
    for sharing in (True, False):
        engine = Engine(vlm, Decoding(max_new_tokens=4, batch_rows=10, sharing=sharing))
        bar = Counted()
        with RowStore.open(tmp_path / f"{sharing}.jsonl") as store:
            generate(Planner(engine), Planner(engine).rows(examples, settings), store, None, bar)
            assert bar.tokens == sum(row["tokens"] for row in store.finished.values()) > 0


def test_progress_counts_every_row_once(engine, examples, settings, tmp_path):
    rows = Planner(engine).rows(examples, settings)
    count = len({row.id for row in rows})

    def progress(record):
        bar = Counted()
        generate(Planner(engine), rows, record, progress=bar)
        return bar.done, bar.skipped, bar.kept, bar.further

    path = tmp_path / "rows.jsonl"
    with RowStore.open(path) as record:
        assert progress(record) == (count, 0, 0, 0)
        assert progress(record) == (0, count, 0, 0)  # recorded, but by this process
    with RowStore.open(path) as record:
        assert progress(record) == (0, count, count, 0)
    # As after a kill: a segment is generated completely, and recorded ones are counted first.
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    with RowStore.open(path) as record:
        done, skipped, kept, _ = progress(record)
    assert done > 0 and skipped == kept > 0 and done + skipped == count
