"""A judge's agreement with human labels in a table, and errors in such tables."""

import json

import openpyxl
import pytest
from made_up_run import REFUSES, Costly, asked, write_run
from raising import raises

from calib.config.judge import JudgeConfig, JudgeRunConfig
from calib.judges.judge import Verdict
from calib.runs.labels import judge_agreement as module
from calib.runs.labels.judge_agreement import compare
from calib.runs.run import Run

ROWS = [
    {"response": "I'm sorry, but I can't help with that.", "label": "refusal"},
    {"response": "I cannot help with that.", "label": "answer"},
    {"response": "Fold the map along its lines.", "label": "answer"},
    {"response": "Cut the paper into four.", "label": "answer"},
    {"response": "Boil the egg for five minutes.", "label": ""},
]


def table(folder, rows, name="table.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def config(path, judge="string", **changes):
    return JudgeRunConfig(JudgeConfig(judge), check=str(path), **changes)


def test_accuracy_kappa_and_confusion_by_hand(tmp_path):
    found = compare(config(table(tmp_path, ROWS)), None)
    assert (found.judge, found.agreement.n) == ("string", 4)
    assert found.agreement.accuracy.value == 0.75
    # Equal: 3/4; by chance 1/4 x 2/4 refusals and 3/4 x 2/4 answers: (3/4 - 1/2) / (1 - 1/2).
    assert found.agreement.kappa.value == pytest.approx(0.5)
    assert found.agreement.confusion == {
        "refusal": {"refusal": 1, "answer": 0},
        "answer": {"refusal": 1, "answer": 2},
    }
    assert [note.partition(" rows")[0] for note in found.notes] == ["1 of 5"]


def test_a_sheet_that_a_spreadsheet_program_saved_is_read_with_a_note(tmp_path):
    path = tmp_path / "sheet.csv"
    lines = [f"{row['response']} \xe9t\xe9;{row['label']}" for row in ROWS[:3]]
    path.write_bytes("\n".join(["response;label", *lines]).encode("cp1252"))
    found = compare(config(path), None)
    assert found.agreement.n == 3
    assert any("semicolons" in note for note in found.notes)
    assert any("'\xe9t\xe9'" in note for note in found.notes)


def test_the_sheet_with_the_labels_is_read(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["colour", "meaning"])
    sheet = book.create_sheet("Read by hand")
    for row in (["response", "verdict"], *([row["response"], row["label"]] for row in ROWS)):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    found = compare(config(tmp_path / "a.xlsx", columns={"label": "verdict"}), None)
    assert found.agreement.n == 4


def test_other_column_names_and_label_words(tmp_path):
    rows = [{"said": one["response"], "final": k} for k, one in enumerate(ROWS[:3])]
    theirs = {"label": "final", "response": "said"}
    given = config(
        table(tmp_path, rows), columns=theirs, labels={0: "refusal", 1: "blocked", 2: "answer"}
    )
    found = compare(given, None).agreement
    assert found.confusion["blocked"]["refusal"] == 1 and found.accuracy.value == 2 / 3
    given.merge = True
    assert compare(given, None).agreement.accuracy.value == 1


@pytest.mark.parametrize("given", ["refusal", "safe_completion", "blocked"])
@pytest.mark.parametrize("truth", ["refusal", "safe_completion", "blocked"])
def test_merged_labels_count_as_refusals(tmp_path, monkeypatch, given, truth):
    monkeypatch.setattr(module, "choose_judge", lambda *known: Costly(label=given))
    path = table(tmp_path, [{"response": "x", "label": truth}, {"response": "y", "label": truth}])
    assert compare(config(path), None).agreement.accuracy.value == (given == truth)
    merged = compare(config(path, merge=True), None).agreement
    assert merged.confusion == {"refusal": {"refusal": 2}}


def test_responses_without_a_verdict_are_left_out_and_counted(tmp_path, monkeypatch):
    class Unsure(Costly):
        def __call__(self, said, tell=lambda n: None):
            super().__call__(said, tell)
            return [Verdict("answer" if "the" in one.response else None) for one in said]

    judge = Unsure()
    monkeypatch.setattr(module, "choose_judge", lambda *given: judge)
    path = table(tmp_path, ROWS)
    found = compare(config(path), None)
    assert found.agreement.n == 2
    assert ["2 of 4" in note for note in found.notes] == [False, True, True]
    assert "50.0%" in found.notes[-1]
    assert len(judge.asked) == 4 and (tmp_path / "verdicts.jsonl").exists()
    asked_before, judge.asked = judge.asked, []
    compare(config(table(tmp_path, ROWS[::-1])), None)
    # Only responses without a verdict are judged again, whatever their order.
    assert sorted(judge.asked) == sorted(one for one in asked_before if "the" not in one)


def test_without_any_verdict_there_is_no_agreement(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "choose_judge", lambda *given: Costly(label=None))
    assert compare(config(table(tmp_path, ROWS)), None).agreement.n == 0


def test_all_columns_of_a_row_reach_the_judge(tmp_path, monkeypatch):
    said = []

    class Listens(Costly):
        def __call__(self, some, tell=lambda n: None):
            said.extend(some)
            return super().__call__(some, tell)

    monkeypatch.setattr(module, "choose_judge", lambda *given: Listens())
    rows = [
        {"id": "a", "query": "'=How?", "safety": "safe", "request": "fold it", "text": None},
        {"id": None, "query": "What?", "safety": "unsafe", "request": "", "text": "a sign"},
        {"id": "c", "query": "", "safety": "perhaps"},
    ]
    more = [{"response": f"a\nb {k}", "label": "answer", **row} for k, row in enumerate(rows)]
    compare(config(table(tmp_path, more)), None)
    shown = [
        (e.id, e.dataset, e.query, e.safety, dict(e.metadata)) for e in (s.example for s in said)
    ]
    assert shown == [
        ("a", "text_centric", "=How?", "safe", {"request": "fold it"}),
        ("1", "dual_use", "What?", "unsafe", {"text": "a sign"}),
        ("c", "text_centric", "", None, {}),
    ]
    assert [one.response for one in said] == ["a\nb 0", "a\nb 1", "a\nb 2"]


def test_rows_of_a_run_are_judged_with_their_recorded_prompt_and_response(tmp_path, monkeypatch):
    run = Run.load(write_run(tmp_path / "run"))
    place = next(p for p in run.rows if p.method == "steer" and run.examples[p.example].safety)
    rows = [
        {"id": place.row, "response": "changed", "label": "refusal"},
        {"id": "unknown", "response": "I can't help with that.", "label": "refusal"},
    ]
    judge = Costly(label="refusal")
    monkeypatch.setattr(module, "choose_judge", lambda *given: judge)
    found = compare(config(table(tmp_path, rows)), run)
    assert judge.asked == [REFUSES, "I can't help with that."]
    assert [note.startswith("1 of 2") for note in found.notes[:2]] == [True, True]
    assert (run.folder / "verdicts.jsonl").exists()


def test_the_judge_of_the_mini_world_needs_rows_of_a_run(tmp_path):
    run = Run.load(write_run(tmp_path / "run"))
    with raises("conflicting-settings", "5 of 5", run.folder, "judge=rules"):
        compare(config(table(tmp_path, [{**r, "label": "answer"} for r in ROWS]), "auto"), run)
    with raises("unsupported", "judge=rules", "run=FOLDER"):
        compare(config(table(tmp_path, ROWS), "rules"), None)


def test_a_cut_response_is_for_the_judge_of_the_run(tmp_path):
    cut = next(one.id for one in asked() if one.safety)
    run = Run.load(write_run(tmp_path / "run", finish={cut: "cut"}))
    row = {"id": run.rows[0].row, "response": "x", "label": "answer"}
    compare(config(table(tmp_path, [row]), "rules"), run)
    with raises("conflicting-settings", run.folder, "judge rules"):
        compare(config(table(tmp_path, [row])), run)


@pytest.mark.parametrize(
    ("rows", "changes", "code", "values"),
    [
        ([], {}, "too-few", ["response", "label"]),
        ([{"respons": "x", "label": "answer"}], {}, "missing-column", ["'response'", "'respons'"]),
        ([{"response": "x", "label": " "}], {}, "missing-value", ["refusal"]),
        ([{"response": "x", "label": "refused"}], {}, "unknown-name", ["'refused'", "'refusal'"]),
        (
            [{"response": "x", "label": "a"}],
            {"labels": {"a": "anser"}},
            "unknown-name",
            ["'anser'", "'answer'"],
        ),
        (
            [{"response": "x", "label": "a"}],
            {"columns": {"lable": "label"}},
            "unknown-name",
            ["'lable'", "'label'"],
        ),
        (
            [{"response": "x", "l": "a"}],
            {"columns": {"label": "ll"}},
            "missing-column",
            ["'ll'", "'l'"],
        ),
        ([{"response": "x", "label": "a"}, 3], {}, "unreadable", ["line 2"]),
    ],
)
def test_a_table_that_cannot_be_used_is_explained(tmp_path, rows, changes, code, values):
    with raises(code, "table.jsonl" if "columns" not in changes else "", *values):
        compare(config(table(tmp_path, rows), **changes), None)


def test_a_row_that_lacks_a_column_has_an_empty_cell(tmp_path):
    rows = [{"said": "Fold it.", "label": "answer"}, {"label": "irrelevant"}, {"said": "x"}]
    found = compare(config(table(tmp_path, rows), columns={"response": "said"}), None)
    assert found.agreement.n == 2 and found.agreement.confusion["irrelevant"]["irrelevant"] == 1
