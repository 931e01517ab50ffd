"""Rejudging a finished run: new labels and tables for the same responses."""

import json

import pytest
from made_up_run import Costly, asked, write_run
from raising import raises

from calib.config.judge import JudgeConfig, JudgeRunConfig, LlmJudge
from calib.judges.judge import Verdict
from calib.runs.checks.files import OF_RESULTS, read_operating_points
from calib.runs.labels import rejudging as module
from calib.runs.labels.rejudging import rejudge
from calib.runs.run import Run
from calib.scoring.results import results_checksum


def config(judge="rules", **changes):
    return JudgeRunConfig(JudgeConfig(judge), **changes)


def without_run(path):
    """A results file without its first column, the name of the folder."""
    return [line.split(",", 1)[1] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(tmp_path):
    return Run.load(write_run(tmp_path / "run"))


def judged_by(monkeypatch, run, judge, **changes):
    monkeypatch.setattr(module, "choose_judge", lambda *given: judge)
    return rejudge(config(**changes), run, None)


def test_the_same_judge_gives_the_same_tables(run, tmp_path):
    found, _, notes = rejudge(config(), run, None)
    assert found.folder == run.folder / "judged" / "rules"
    labels = "labels.jsonl"
    assert (found.folder / labels).read_bytes() == (run.folder / labels).read_bytes()
    points = read_operating_points(found.folder / "operating_points.json")
    assert [point.pop(OF_RESULTS) for point in points] == [results_checksum(run.results)]
    assert points == run.operating_points
    assert without_run(found.folder / "results.csv") == without_run(run.folder / "results.csv")
    elsewhere, _, _ = rejudge(config(), run, tmp_path / "other" / "run")
    for name in ("labels.jsonl", "results.csv"):
        assert (elsewhere.folder / name).read_bytes() == (run.folder / name).read_bytes()
    name = "operating_points.json"
    assert (elsewhere.folder / name).read_bytes() == (found.folder / name).read_bytes()
    assert notes[0].startswith("0 of ")
    assert (found.judge, found.mapping, found.data) == ("rules", run.mapping, run.data)


def test_another_judge_gives_new_labels_and_the_number_that_differ(run, monkeypatch):
    before = {place.row: place.label for place in run.rows}
    found, _, notes = judged_by(monkeypatch, run, Costly(label="answer"))
    after = [json.loads(line) for line in (found.folder / "labels.jsonl").open(encoding="utf-8")]
    assert {one["judge"] for one in after} == {"costly"}
    asked_again = [one for one in after if before[one["row"]] is not None]
    assert {one["label"] for one in asked_again} == {"answer"}
    differ = sum(before[one["row"]] != "answer" for one in asked_again)
    note = f"{differ} of {len(asked_again)} labels differ from those of the run's judge, rules"
    assert differ and notes[0] == note
    # Under this judge the steered and the uncalibrated model answer all queries.
    (point,) = json.loads((found.folder / "operating_points.json").read_text(encoding="utf-8"))
    assert (point["method"], point["kept_uncalibrated"]) == ("steer", True)
    assert any("stay fitted to" in n for n in notes)


def test_responses_without_a_label_are_left_out_and_counted(run, monkeypatch):
    class Unsure(Costly):
        def __call__(self, said, tell=lambda n: None):
            found = super().__call__(said, tell)
            first = [k for k, one in enumerate(said) if one.response.endswith("number 1.")]
            return [Verdict(None) if k in first else one for k, one in enumerate(found)]

    found, _, notes = judged_by(monkeypatch, run, Unsure())
    out = sum(one.label is None and one.correct is None for one in found.judged)
    assert out == 1
    assert f"{out} of {len(run.rows)} responses got no label and are left out" in notes
    n = {
        (r.method, r.split, r.metric): r.n
        for r in found.results
        if (r.dataset, r.variant, r.category) == ("all", "all", "all")
    }
    split, safety = next((e.split, e.safety) for k, e in enumerate(asked()) if k == 1)
    rate = "SRA_u" if safety == "unsafe" else "SRA_s"
    assert n["none", split, rate] == n["steer", split, rate] - 1


def test_verdicts_of_a_costly_judge_are_requested_once(run, monkeypatch):
    first = Costly()
    judged_by(monkeypatch, run, first)
    assert first.asked and len(first.asked) == len(set(first.asked)) + _repeated(run, first)
    again = Costly()
    judged_by(monkeypatch, run, again)
    assert again.asked == []
    assert (run.folder / "verdicts.jsonl").exists()


def _repeated(run, judge):
    """Many queries have the same refusal; each is judged."""
    return len(judge.asked) - len(set(judge.asked))


@pytest.mark.parametrize(
    "name", ["../../etc", "/abs", "..", ".", "", "~", "a" * 300, "-rf", "llm:x/y:calib:1", "a\0b\n"]
)
def test_the_name_of_a_judge_cannot_lead_out_of_the_folder(run, monkeypatch, name):
    found, _, notes = judged_by(monkeypatch, run, Costly(name))
    assert found.folder.resolve().parent == run.folder.resolve() / "judged"
    assert len(found.folder.name) < 120 and found.folder.name.strip("._-") == found.folder.name


def test_judges_with_similar_names_have_different_folders(run, monkeypatch):
    names = ["llm:a:b", "llm_a:b", "llm_a_b", "x" * 90 + "1", "x" * 90 + "2"]
    folders = {judged_by(monkeypatch, run, Costly(name))[0].folder for name in names}
    assert len(folders) == len(names)


def test_another_mapping_has_its_own_folder_and_other_rates(tmp_path):
    safe = next(one for one in asked() if one.safety == "safe" and one.split == "test")
    run = Run.load(write_run(tmp_path / "run", said={safe.id: "Blue blue."}))
    ours, papers = (rejudge(config(mapping=name), run, None)[0] for name in (None, "paper"))
    assert papers.folder.name == "rules-paper" and papers.mapping == "paper"

    def rate(found):
        place = ("none", "test", "all", "all", "all", "SRA_s")
        return next(
            r.value for r in found.results
            if (r.method, r.split, r.dataset, r.variant, r.category, r.metric) == place
        )  # fmt: skip

    assert rate(papers) > rate(ours)
    assert (run.folder / "results.csv").read_text(encoding="utf-8").startswith("run,")


def test_the_tables_of_a_run_are_not_overwritten(run):
    before = (run.folder / "results.csv").read_bytes()
    with raises("already-exists", run.folder):
        rejudge(config("string"), run, run.folder)
    assert (run.folder / "results.csv").read_bytes() == before


def test_cut_responses_are_judged_by_no_other_judge(tmp_path):
    cut = next(one.id for one in asked() if one.safety)
    run = Run.load(write_run(tmp_path / "run", finish={cut: "cut"}))
    rejudge(config("rules"), run, None)
    with raises("conflicting-settings", run.folder, "judge rules"):
        rejudge(config("string"), run, None)
    assert not (run.folder / "judged" / "string").exists()


def test_a_judge_of_pictures_gets_them(run, monkeypatch):
    shown = []

    class Looks(Costly):
        def __call__(self, said, tell=lambda n: None):
            shown.extend(one.example.picture is not None for one in said)
            return super().__call__(said, tell)

    monkeypatch.setattr(module, "choose_judge", lambda *given: Looks())
    rejudge(JudgeRunConfig(LlmJudge(models=["m"])), run, None)
    assert shown and not any(shown)
    monkeypatch.setattr(module, "choose_judge", lambda *given: Looks("looks"))
    rejudge(JudgeRunConfig(LlmJudge(models=["m"], image=True)), run, None)
    assert any(shown)


def test_the_tested_layer_is_kept(tmp_path):
    """Other layers have responses on validation only, even if they are better there."""
    folder = write_run(tmp_path / "run")
    extra = []
    rows = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        del one["crc32"]
        known = json.loads((folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()[0])
        assert known["split"] in ("validation", "test")
        if one["method"] == "steer":
            extra.append({**one, "row": f"x{one['row']}", "layer": 1})
    splits = {
        known["id"]: known["split"]
        for known in map(
            json.loads, (folder / "examples.jsonl").read_text(encoding="utf-8").splitlines()
        )
    }
    extra = [one for one in extra if splits[one["example"]] == "validation"]
    unsafe = {one.id for one in asked() if one.safety == "unsafe"}
    for one in extra:  # better than layer 3, which refuses everything
        text = "I'm sorry, but I can't help with that." if one["example"] in unsafe else "Here."
        rows.append(json.dumps({"row": one["row"], "response": text, "kl": 0.0}))
    (folder / "rows.jsonl").write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    with (folder / "labels.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in extra)
    found, _, notes = rejudge(config("string"), Run.load(folder), None)
    point = found.operating_point("steer")
    assert point["layer"] == 3
    # Results of other layers on validation stay in the table.
    layers = {(r.layer, r.split) for r in found.results if r.method == "steer"}
    assert layers == {(3, "validation"), (3, "test"), (1, "validation")}
