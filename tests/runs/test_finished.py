"""A finished run is read back whole, or refused with the reason."""

import json
from dataclasses import replace

import pytest
from made_up_run import REFUSES, asked, write_run

from calib.runs.run import Run
from calib.util.errors import CalibError


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run")


def test_what_was_written_is_read_back(folder):
    run = Run.load(folder)
    assert (run.data, run.checkpoint, run.seed, run.mapping, run.judge) == (
        "mini", "mini-internvl", 0, "calib", "rules",
    )  # fmt: skip
    assert len(run.rows) == 2 * len(asked())
    steered = [place for place in run.rows if place.method == "steer"]
    assert {(place.layer, place.strength) for place in steered} == {(3, 1.0)}
    assert {run.judge_input(p).response for p in steered if run.examples[p.example].safety} == {
        REFUSES
    }
    labels = [one.label for one in run.judged]
    assert labels == [place.label for place in run.rows]


def test_the_pictures_are_those_of_the_benchmark(folder):
    run = Run.load(folder)
    assert all(one.picture is None for one in run.examples.values())
    shown = run.with_pictures("why").examples
    for one in asked():
        if one.safety:
            assert (shown[one.id].picture is None) == (one.picture is None)
            if one.picture:
                assert shown[one.id].picture().tobytes() == one.picture().tobytes()


def edit(folder, name, change):
    path = folder / name
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_a_benchmark_that_has_changed_is_refused(folder):
    run = Run.load(folder)
    name = next(id for id, one in run.examples.items() if one.safety)
    other = {**run.examples, name: replace(run.examples[name], query="Another?")}
    with pytest.raises(CalibError, match=f"because, and .* has changed: example '{name}'"):
        run.replace(examples=other).with_pictures("because")
    for change in ({"parts": ["nothing"]}, {"limit": "many"}, {"new": 1}, {"name": "other"}):
        settings = {**run.settings, "data": {**run.settings["data"], **change}}
        with pytest.raises(CalibError, match="because, and the run's benchmark cannot be loaded"):
            run.replace(settings=settings).with_pictures("because")


def test_responses_that_were_cut_are_for_their_own_judge(tmp_path):
    cut = next(one.id for one in asked() if one.safety)
    run = Run.load(write_run(tmp_path / "run", finish={cut: "cut"}))
    run.require_complete_responses("rules")
    with pytest.raises(CalibError, match="2 responses .* were cut as soon as judge rules was cert"):
        run.require_complete_responses("string")
    Run.load(write_run(tmp_path / "whole")).require_complete_responses("string")


def one_line(change):
    def damage(text):
        first, *rest = text.split("\n")
        line = json.loads(first)
        change(line)
        return "\n".join([json.dumps(line), *rest])

    return damage


def without(name):
    return one_line(lambda line: line.pop(name))


def given(**changes):
    return one_line(lambda line: line.update(changes))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("run.json", None, "is not the folder of a run"),
        ("run.json", lambda text: "[]", "does not say what it is a run of"),
        ("run.json", lambda text: '{"identity": {}}', "names no benchmark or no seed"),
        ("run.json", lambda text: '{"identity": {"data": {"name": 3}, "seed": 0}}', "no benchmark"),
        ("run.json", lambda text: text.replace('"seed": 0', '"seed": "x"'), "no benchmark or no s"),
        ("operating_points.json", None, "it is not a finished run of calib.sweep"),
        ("operating_points.json", lambda text: "[]", "it holds no operating point"),
        ("operating_points.json", lambda text: "{}", "it holds no operating point"),
        ("operating_points.json", lambda text: text[:-20], "cannot be read"),
        ("operating_points.json", lambda text: "[" * 100_000, "cannot be read"),
        ("examples.jsonl", None, "There is no .*examples.jsonl"),
        ("examples.jsonl", lambda text: text.split("\n", 1)[1], "or its example not in examples"),
        ("labels.jsonl", None, "labels.jsonl cannot be read"),
        ("labels.jsonl", lambda text: "", "labels.jsonl cannot be read .it is empty"),
        ("labels.jsonl", lambda text: text[:-5], "labels.jsonl cannot be read"),
        ("labels.jsonl", without("judge"), "line 1 has no judge"),
        ("labels.jsonl", given(layer="3"), "line 1 has '3' for layer"),
        ("labels.jsonl", given(layer=True), "line 1 has True for layer"),
        ("labels.jsonl", given(strength=None), "line 1 has None for strength"),
        ("labels.jsonl", given(row="x"), "row x of labels.jsonl is not whole in rows.jsonl"),
        ("rows.jsonl", None, "rows.jsonl cannot be read"),
        ("rows.jsonl", without("response"), "is not whole in rows.jsonl"),
        ("rows.jsonl", given(kl="0"), "is not whole in rows.jsonl"),
        ("rows.jsonl", given(response=None), "is not whole in rows.jsonl"),
        ("config.yaml", None, "config.yaml cannot be read"),
        ("config.yaml", lambda text: "seed: 1", "config.yaml cannot be read"),
        ("config.yaml", lambda text: "- mapping", "config.yaml cannot be read"),
        ("config.yaml", lambda text: "mapping: {", "config.yaml cannot be read"),
        ("config.yaml", lambda text: "mapping: ${nothing}", "config.yaml cannot be read"),
    ],
)
def test_a_damaged_run_is_explained(folder, name, damage, words):
    path = folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text()))
    with pytest.raises(CalibError, match=words):
        Run.load(folder)


def test_a_configuration_that_is_no_text_is_explained(folder):
    (folder / "config.yaml").write_bytes(b"mapping: \xff")
    with pytest.raises(CalibError, match="config.yaml cannot be read"):
        Run.load(folder)
