"""The examples of the playground: those of a run, or of the mini world."""

import json
from dataclasses import asdict

import yaml
from made_up_run import REFUSES, asked, write_run

from calib.config.judge import LlmJudge
from calib.judges.string import STRING
from calib.runs.run import Run
from calib.serving.playground.examples import MINI_PARTS, mini_examples, run_examples, with_images
from calib.serving.playground.playground import Playground

MINI = "mini-internvl"


def test_examples_of_the_mini_world_are_pairs_of_its_test_split():
    found = mini_examples(MINI)
    examples = [one.example for one in found.offered]
    assert {example.dataset for example in examples} == set(MINI_PARTS)
    assert {example.split for example in examples} == {"test"}
    queries = [example for example in examples if example.safety]
    assert {(q.pair, q.safety) for q in queries} == {
        (q.pair, safety) for q in queries for safety in ("safe", "unsafe")
    }
    assert found.judge.id == "rules" and mini_examples("other").judge is STRING


def test_examples_of_a_run_begin_with_those_that_the_method_changed(tmp_path):
    same = [example for example in asked() if example.split == "test" and example.safety][0]
    write_run(tmp_path, said={same.id: REFUSES})
    found = run_examples(with_images(Run(tmp_path))[0], "steer", MINI)
    changed = [one.changed for one in found.offered]
    assert changed == sorted(changed, reverse=True) and True in changed
    by_id = {one.example.id: one for one in found.offered}
    assert len(by_id) == found.total == sum(each.split == "test" for each in asked())
    assert not by_id[same.id].changed and by_id[same.id].before.text == REFUSES
    first = found.offered[0]
    assert (first.after.text, first.after.label) == (REFUSES, "refusal")
    assert first.before.label == "irrelevant"
    assert first.example.pictures or "text_only" in first.example.variant
    question = next(one for one in found.offered if one.example.answer)
    assert question.before.label == "right" and not question.changed


def test_a_judge_that_needs_a_model_is_replaced_and_named(tmp_path):
    write_run(tmp_path)
    config = tmp_path / "config.yaml"
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings["judge"] = asdict(LlmJudge(models=["a"], base_url="http://127.0.0.1:9/v1"))
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    found = run_examples(with_images(Run(tmp_path))[0], "steer", MINI)
    assert found.judge is STRING
    assert any("llm" in note for note in found.notes)


def test_rows_that_the_server_has_read_are_not_read_again(tmp_path, steered):
    write_run(tmp_path)
    run = Run(tmp_path)
    run.test_rows  # noqa: B018 (as for the verdict)
    for name in ("rows.jsonl", "labels.jsonl"):
        (tmp_path / name).unlink()
    assert Playground(steered, run).list("mini")["source"] == run.name


def test_a_damaged_run_is_said_and_replaced_by_the_mini_world(tmp_path, steered):
    write_run(tmp_path)
    (tmp_path / "examples.jsonl").write_text("{", encoding="utf-8")
    listed = Playground(steered, Run(tmp_path)).list("mini")
    assert listed["source"] == "mini world"
    assert any(str(tmp_path) in note for note in listed["notes"])
    assert json.dumps(listed)
