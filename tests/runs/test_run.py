"""A finished run is loaded from its folder, or the damaged file is named."""

import json
import shutil
from dataclasses import replace

import pytest
from made_up_run import REFUSES, asked, write_run
from raising import raises

from calib.config.judge import JudgeConfig, JudgeRunConfig
from calib.config.method import Steer
from calib.report.alarms import mapping_notes
from calib.runs.labels.rejudging import rejudge, require_complete_responses
from calib.runs.run import Run
from calib.util.errors import CalibError


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run")


def test_a_written_run_is_read_back(folder):
    run = Run.load(folder)
    assert (run.data, run.checkpoint, run.seed, run.mapping, run.judge) == (
        "mini", "mini-internvl", 0, "calib", "rules",
    )  # fmt: skip
    assert len(run.rows) == 2 * len(asked())
    steered = [row for row in run.rows if row.method == "steer"]
    assert {(row.layer, row.strength) for row in steered} == {(3, 1.0)}
    queries = [row for row in steered if run.examples[row.example].safety]
    assert {run.responses[row.row]["response"] for row in queries} == {REFUSES}
    labels = [one.label for one in run.judged]
    assert labels == [row.label for row in run.rows]


def test_the_pictures_are_those_of_the_benchmark(folder):
    run = Run.load(folder)
    assert all(one.picture is None for one in run.examples.values())
    shown = run.with_pictures("why").examples
    for one in asked():
        if one.safety:
            assert (shown[one.id].picture is None) == (one.picture is None)
            if one.picture:
                assert shown[one.id].picture().tobytes() == one.picture().tobytes()


def test_a_run_made_before_splits_had_a_level_has_the_splits_of_pairs(folder):
    path = folder / "config.yaml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "split_" not in line), encoding="utf-8")
    run = Run.load(folder)
    assert not any(key.startswith("split_") for key in run.settings["data"])
    splits = {one.id: one.split for one in run.reload_benchmark()}
    assert {one.id: one.split for one in asked() if one.safety}.items() <= splits.items()
    examples = [
        json.loads(line)
        for line in (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for one in examples:
        del one["concept"], one["query_group"], one["crc32"]
    (folder / "examples.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in examples), encoding="utf-8"
    )
    assert {row.cluster for row in Run.load(folder).examples.values() if row.safety} == {
        f"{row.dataset}/pair/{row.pair}" for row in asked() if row.safety
    }


def edit(folder, name, change):
    path = folder / name
    found = json.loads(path.read_text(encoding="utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")


def test_a_changed_benchmark_is_refused(folder):
    run = Run.load(folder)
    name = next(id for id, one in run.examples.items() if one.safety)
    other = {**run.examples, name: replace(run.examples[name], query="Another?")}
    with raises("mismatch", "because", f"'{name}'"):
        run.replace(examples=other).with_pictures("because")
    changes = {
        "nothing": {"parts": ["nothing"]}, "many": {"limit": "many"}, "'mini'": {"new": 1},
    }  # fmt: skip
    for value, change in changes.items():
        settings = {**run.settings, "data": {**run.settings["data"], **change}}
        with pytest.raises(CalibError) as caught:
            run.replace(settings=settings).with_pictures("because")
        assert "because" in str(caught.value) and value in str(caught.value)


def test_cut_responses_are_for_the_judge_of_the_run(tmp_path):
    cut = next(one.id for one in asked() if one.safety)
    run = Run.load(write_run(tmp_path / "run", finish={cut: "cut"}))
    require_complete_responses(run, "rules")
    with raises("conflicting-settings", "2 responses", run.folder, "judge rules"):
        require_complete_responses(run, "string")
    require_complete_responses(Run.load(write_run(tmp_path / "complete")), "string")


def one_line(change):
    def damage(text):
        first, *rest = text.split("\n")
        line = json.loads(first)
        line.pop("crc32", None)  # as of an earlier version, so that the change itself is found
        change(line)
        return "\n".join([json.dumps(line), *rest])

    return damage


def without(name):
    return one_line(lambda line: line.pop(name))


def given(**changes):
    return one_line(lambda line: line.update(changes))


def read_all(folder):
    run = Run.load(folder)
    return (run.manifest, run.settings, run.mapping, run.seed, run.operating_points, run.results,
            run.rows, run.judged, run.examples)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "damage", "code"),
    [
        ("run.json", None, "unfinished-run"),
        ("run.json", lambda text: "[]", "invalid-content"),
        ("results.csv", None, "unfinished-run"),
        ("operating_points.json", None, "unfinished-run"),
        ("operating_points.json", lambda text: "[]", "unreadable"),
        ("operating_points.json", lambda text: "{}", "unreadable"),
        ("operating_points.json", lambda text: text[:-20], "unreadable"),
        ("operating_points.json", lambda text: "[" * 100_000, "unreadable"),
        ("examples.jsonl", None, "unfinished-run"),
        ("examples.jsonl", lambda text: text.split("\n", 1)[1], "mismatch"),
        ("labels.jsonl", None, "unfinished-run"),
        ("labels.jsonl", lambda text: "", "unreadable"),
        ("labels.jsonl", lambda text: text[:-5], "unreadable"),
        ("labels.jsonl", without("judge"), "unreadable"),
        ("labels.jsonl", given(layer="3"), "unreadable"),
        ("labels.jsonl", given(layer=True), "unreadable"),
        ("labels.jsonl", given(strength=None), "unreadable"),
        ("labels.jsonl", given(row="x"), "mismatch"),
        ("labels.jsonl", given(label="refuse"), "unknown-name"),
        ("rows.jsonl", None, "unfinished-run"),
        ("rows.jsonl", without("response"), "invalid-content"),
        ("rows.jsonl", given(kl="0"), "invalid-content"),
        ("rows.jsonl", given(response=None), "invalid-content"),
        ("config.yaml", None, "unfinished-run"),
        ("config.yaml", lambda text: "seed: 1", "invalid-content"),
        ("config.yaml", lambda text: text.replace("seed: 0", "seed: x"), "invalid-content"),
        ("config.yaml", lambda text: text.replace("name: mini", "name: 3"), "invalid-content"),
        ("config.yaml", lambda text: "- mapping", "invalid-content"),
        ("config.yaml", lambda text: "mapping: {", "unreadable"),
        ("config.yaml", lambda text: "mapping: ${nothing}", "invalid-content"),
        ("config.yaml", lambda text: "\ufffd: [", "unreadable"),
    ],
)
def test_a_damaged_run_is_explained(folder, name, damage, code):
    path = folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with raises(code, name if code != "unknown-name" else "'refuse'"):
        read_all(folder)


def test_a_run_reads_only_the_files_that_are_used(folder):
    for name in ("run.json", "labels.jsonl", "rows.jsonl", "examples.jsonl", "config.yaml"):
        (folder / name).unlink()
    run = Run.load(folder)
    assert run.results and run.operating_point("steer")["layer"] == 3
    assert [method.name for method in run.methods] == ["steer"]
    with raises("unfinished-run", folder, "labels.jsonl"):
        _ = run.judge


def test_parts_that_are_handed_over_are_not_read(folder):
    read = Run.load(folder)
    results = read.results[:3]
    run = Run(folder, results=results, examples={}, operating_points=[])
    shutil.rmtree(folder)
    assert (run.results, run.examples, run.methods) == (results, {}, [])


def test_a_copy_with_other_rows_has_other_judged_responses(folder):
    run = Run.load(folder)
    first = run.judged[0]
    row = replace(run.rows[0], label="irrelevant" if first.label != "irrelevant" else "answer")
    copy = run.replace(rows=[row, *run.rows[1:]], name="copy")
    assert copy.judged[0].label == row.label and run.judged[0] == first
    assert (copy.name, run.name) == ("copy", "run") and copy.results == run.results


def test_settings_of_an_older_run_have_their_present_names(folder):
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    text = text.replace("all_layers_at_once:", "together:").replace("otherwise:", "closed:")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    run = Run.load(folder)
    assert "together" in run.settings_text
    assert run.method_config("steer") == Steer(layers=[3]) and run.method_config("other") is None


def test_runs_of_one_folder_name_are_separated_by_their_paths(folder):
    paths = [write_run(folder.parent / parent / "run") for parent in ("a", "b")]
    names = [run.name for run in Run.load_many([*paths, write_run(folder.parent / "c")])]
    assert names == ["a/run", "b/run", "c"]
    with raises("duplicate", folder, 2):
        Run.load_many([folder, folder.parent / "a" / ".." / "run"])


def as_of_an_earlier_version(folder):
    """Take the columns away that earlier versions of calib did not write, and half of SRA_s."""
    path = folder / "results.csv"
    lines = [
        line.rsplit(",", 2)[0].split(",") for line in path.read_text(encoding="utf-8").splitlines()
    ]
    metric, value = lines[0].index("metric"), lines[0].index("value")
    for line in lines[1:]:
        if line[metric] in ("SRA", "SRA_s"):
            line[value] = f"{float(line[value]) / 2:.6f}"
    kept = [line for line in lines if line[metric] != "warned_s"]
    path.write_text("".join(",".join(line) + "\n" for line in kept), encoding="utf-8")


def test_a_run_of_an_earlier_mapping_is_scored_again_from_its_labels(folder):
    now = Run.load(folder)
    assert now.results and mapping_notes([now]) == []
    as_of_an_earlier_version(folder)
    run = Run.load(folder)
    assert run.results == now.results
    assert any(result.metric == "warned_s" for result in run.results)
    (note,) = mapping_notes([run])
    assert "mapping=calib" in note and f"run={folder}" in note


def test_without_labels_the_earlier_numbers_stay_and_the_note_says_so(folder):
    as_of_an_earlier_version(folder)
    (folder / "labels.jsonl").unlink()
    run = Run.load(folder)
    assert not any(result.metric == "warned_s" for result in run.results)
    (note,) = mapping_notes([run])
    assert "mapping=calib" in note and f"run={folder}" not in note


def test_a_run_without_a_rule_of_choice_is_chosen_anew_by_the_present_one(folder):
    run = Run.load(folder)
    assert "choose" not in run.settings
    chosen, _, _ = rejudge(JudgeRunConfig(JudgeConfig("rules")), run, None)
    (record,) = chosen.operating_points
    assert record["choose"]["min_sra_u"] == "baseline" == chosen.settings["choose"]["min_sra_u"]
    changed = JudgeRunConfig(JudgeConfig("rules"), choose={"min_sra_u": 0.9})
    (record,) = rejudge(changed, run, folder / "other")[0].operating_points
    assert record["choose"]["min_sra_u"] == 0.9
    assert record["choose"]["utility_tolerance"] == 0.01
    with raises("unknown-setting", "min_sra", "min_sra_u"):
        rejudge(JudgeRunConfig(JudgeConfig("rules"), choose={"min_sra": 0.9}), run, None)


def test_a_kill_while_other_settings_are_written_leaves_no_results_of_the_former_ones(
    folder, monkeypatch
):
    run = Run.load(folder)
    names = ("results", "operating_points", "examples", "checkpoint", "rows", "judge", "judged")
    parts = {name: getattr(run, name) for name in names}
    text = run.settings_text.replace("mapping: calib", "mapping: paper")
    assert text != run.settings_text
    again = run.replace(**parts, settings_text=text)

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    monkeypatch.setattr("calib.runs.run.write_labels", killed)
    with pytest.raises(Killed):
        again.write()
    with raises("unfinished-run", "results.csv"):
        Run.load(folder)
    monkeypatch.undo()
    again.write()
    assert Run.load(folder).mapping == "paper"
