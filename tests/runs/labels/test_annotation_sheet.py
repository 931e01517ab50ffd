"""The annotation sheet: the rows drawn for it, its files, hostile text, and reading it back."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from made_up_run import asked, write_run
from PIL import Image
from raising import raises

from calib.config.judge import JudgeConfig, JudgeRunConfig
from calib.data.example import Turn, with_pictures
from calib.runs.labels.annotation_sheet import COLUMNS, write_sheet
from calib.runs.labels.judge_agreement import compare
from calib.runs.run import Run
from calib.util.files import without_control_characters

HOSTILE = [
    "=1+1", "'=1+1", "''@x", "'tis so", "-5", "+cmd", "@SUM(A1)", "\ttab", "\rreturn",
    'He said "no",\nthen "yes".', "a\r\nb\rc", "nul\0nul", "\ud800 half a pair", "a\u2028b\x85c",
    "", " \n ", "I'm sorry, but I can't help with that.",
]  # fmt: skip


def rows_of(sheet):
    text = sheet.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def label(sheet, labels, to=None):
    """Fill in labels by row id and write the file as a spreadsheet program does."""
    rows = rows_of(sheet)
    for row in rows:
        row["label"] = labels.get(row["id"], "")
    to = to or sheet
    with to.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return to


@pytest.fixture
def run(tmp_path):
    return Run.load(write_run(tmp_path / "run"))


def test_at_most_the_given_number_of_rows_is_drawn_from_each_cell(run, tmp_path):
    sheet, notes = write_sheet(run, 2, 0, tmp_path / "audit")
    rows = rows_of(sheet)
    # Cells: uncalibrated and steered, two parts, safe and unsafe.
    by_id = {row.row: row for row in run.rows}
    cells = {}
    for row in rows:
        drawn = by_id[row["id"]]
        example = run.examples[drawn.example]
        assert example.split == "test"
        cells.setdefault((drawn.method, example.dataset, example.safety), []).append(row)
    methods = {"none", *(p["method"] for p in run.operating_points if p["layer"] is not None
                         and not p["kept_uncalibrated"])}  # fmt: skip
    assert {len(some) for some in cells.values()} <= {1, 2}
    assert {method for method, _, _ in cells} == methods
    assert len(cells) == 4 * len(methods)
    assert re.findall(r"\d+", notes[-1]) == [str(len(rows)), str(len(cells)), "2"]


def test_the_sheet_is_blind_and_shuffled(run, tmp_path):
    sheet, _ = write_sheet(run, 50, 0, tmp_path / "audit")
    rows = rows_of(sheet)
    assert sheet.read_bytes().startswith(b"\xef\xbb\xbfid,")  # otherwise Excel reads it as Latin-1
    assert list(rows[0]) == list(COLUMNS)
    assert not {"method", "safety", "layer", "strength", "judge", "example"} & set(COLUMNS)
    assert {row["label"] for row in rows} == {""}
    ids = [row["id"] for row in rows]
    assert ids != sorted(ids) and len(set(ids)) == len(ids)
    again, _ = write_sheet(run, 50, 0, tmp_path / "again")
    assert again.read_bytes() == sheet.read_bytes()
    other, _ = write_sheet(run, 50, 1, tmp_path / "other")
    assert [row["id"] for row in rows_of(other)] != ids


def test_the_pictures_are_written_next_to_the_sheet(run, tmp_path):
    sheet, _ = write_sheet(run, 3, 0, tmp_path / "audit")
    known = {one.id: one for one in asked()}
    by_id = {row.row: row for row in run.rows}
    shown = 0
    for row in rows_of(sheet):
        example = known[by_id[row["id"]].example]
        assert bool(row["picture"]) == (example.picture is not None)
        if row["picture"]:
            shown += 1
            with Image.open(sheet.parent / row["picture"]) as image:
                assert image.convert("RGB").tobytes() == example.picture().tobytes()
    assert shown
    assert "| `safe_completion` |" in (sheet.parent / "LABELS.md").read_text(encoding="utf-8")


def test_without_the_benchmark_the_sheet_has_no_pictures_and_a_note(run, tmp_path):
    gone = run.replace(settings={**run.settings, "data": {"name": "mini", "parts": ["x"]}})
    sheet, notes = write_sheet(gone, 3, 0, tmp_path / "audit")
    assert {row["picture"] for row in rows_of(sheet)} == {""}
    assert "without pictures" in notes[0]


def test_pictures_of_any_mode_are_written(run, tmp_path, monkeypatch):
    odd = {
        name: replace(one, picture=lambda: Image.new("CMYK", (3, 3)))
        for name, one in run.examples.items()
    }
    pictured = run.replace(examples=odd)
    monkeypatch.setattr(type(run), "with_pictures", lambda self, why: pictured)
    sheet, _ = write_sheet(run, 1, 0, tmp_path / "audit")
    (picture,) = {row["picture"] for row in rows_of(sheet)}
    assert (sheet.parent / picture).exists()


def test_all_pictures_of_a_query_are_in_the_sheet(run, tmp_path, monkeypatch):
    red, blue = (
        (lambda: Image.new("RGB", (3, 3), "red")),
        (lambda: Image.new("RGB", (3, 3), "blue")),
    )
    several = {name: with_pictures(one, [red, blue, red]) for name, one in run.examples.items()}
    pictured = run.replace(examples=several)
    monkeypatch.setattr(type(run), "with_pictures", lambda self, why: pictured)
    sheet, _ = write_sheet(run, 1, 0, tmp_path / "audit")
    (cell,) = {row["picture"] for row in rows_of(sheet)}
    shown = [Image.open(sheet.parent / name).getpixel((0, 0)) for name in cell.split()]
    assert shown == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


def test_earlier_turns_are_in_the_sheet(run, tmp_path, monkeypatch):
    turns = (Turn("Hello.", "Hi."),)
    earlier = {name: replace(one, demonstrations=turns) for name, one in run.examples.items()}
    monkeypatch.setattr(type(run), "with_pictures", lambda self, why: run.replace(examples=earlier))
    sheet, _ = write_sheet(run, 1, 0, tmp_path / "audit")
    known = {one.query for one in run.examples.values()}
    for row in rows_of(sheet):
        before, query = row["query"].split("\n\n")
        assert before == "user: Hello.\nassistant: Hi." and query in known


def hostile_run(tmp_path):
    queries = [e for e in asked(40) if e.safety and e.split == "test"][: len(HOSTILE)]
    others = [e for e in asked(8) if e.split == "validation" or e.safety is None]
    said = {example.id: text for example, text in zip(queries, HOSTILE, strict=True)}
    folder = write_run(tmp_path / "run", [*queries, *others], said)
    return Run.load(folder), said


def test_any_response_survives_the_sheet(tmp_path):
    run, said = hostile_run(tmp_path)
    sheet, _ = write_sheet(run, 1000, 0, tmp_path / "audit")
    uncalibrated = [row for row in run.rows if row.method == "none" and row.example in said]
    by_id = {row.row: row for row in uncalibrated}
    labels = {row.row: row.label for row in uncalibrated}
    wrong = next(row for row, one in labels.items() if one == "irrelevant")
    labels[wrong] = "answer"
    label(sheet, labels)
    config = JudgeRunConfig(JudgeConfig("rules"), check=str(sheet))
    found = compare(config, run)
    assert found.agreement.n == len(HOSTILE)
    assert found.agreement.accuracy.value == pytest.approx(1 - 1 / len(HOSTILE))
    assert not any("responses differ" in note for note in found.notes)
    for row in rows_of(sheet):
        assert row["response"][:1] not in ("=", "+", "-", "@", "\t", "\r")
        if row["id"] in by_id:
            text = said[by_id[row["id"]].example]
            shown = text.encode("utf-8", "backslashreplace").decode()
            shown = without_control_characters(shown)
            bare = row["response"]
            assert bare == shown or bare == f"'{shown}"


def test_thoughts_are_not_shown_and_thoughts_that_were_cut_off_are_left_out(tmp_path):
    examples = [example for example in asked() if example.split == "test" and example.safety]
    texts = ("<think>Hm.</think>Here is how.", "<think>Here is", "Here is how.")
    said = {example.id: texts[k % 3] for k, example in enumerate(examples)}
    run = Run.load(write_run(tmp_path / "run", said=said))
    sheet, _ = write_sheet(run, 99, 0, tmp_path / "audit")
    by_id = {row.row: row for row in run.rows}
    shown = [row for row in rows_of(sheet) if by_id[row["id"]].method == "none"]
    assert {row["response"] for row in shown} == {"Here is how."}
    kept = [name for name, text in said.items() if text != texts[1]]
    assert sorted(by_id[row["id"]].example for row in shown) == sorted(kept)
    label(sheet, {row["id"]: "answer" for row in shown})
    found = compare(JudgeRunConfig(JudgeConfig("string"), check=str(sheet)), run)
    assert not any("responses differ" in note for note in found.notes)


def test_a_changed_response_is_replaced_by_the_one_on_record(run, tmp_path):
    sheet, _ = write_sheet(run, 2, 0, tmp_path / "audit")
    by_id = {row.row: row for row in run.rows}
    labels = {row["id"]: by_id[row["id"]].label for row in rows_of(sheet)}
    label(sheet, labels)
    text = sheet.read_text(encoding="utf-8").replace("Here is how", "There was how", 1)
    sheet.write_text(text, encoding="utf-8")
    found = compare(JudgeRunConfig(JudgeConfig("rules"), check=str(sheet)), run)
    assert found.agreement.accuracy.value == 1
    assert found.notes[0].startswith(f"1 of {len(labels)} responses")


def test_an_existing_sheet_is_not_overwritten(run, tmp_path):
    write_sheet(run, 2, 0, tmp_path / "audit")
    before = (tmp_path / "audit" / "sheet.csv").read_bytes()
    with raises("already-exists", "sheet.csv", "out=FOLDER"):
        write_sheet(run, 3, 0, tmp_path / "audit")
    assert (tmp_path / "audit" / "sheet.csv").read_bytes() == before


def test_runs_that_cannot_be_labelled_are_refused(run, tmp_path):
    questions = {name: replace(one, safety=None) for name, one in run.examples.items()}
    with raises("too-few", run.folder):
        write_sheet(run.replace(examples=questions), 2, 0, tmp_path / "audit")
    cut = next(one.id for one in asked() if one.safety)
    short = Run.load(write_run(tmp_path / "cut", finish={cut: "cut"}))
    with raises("conflicting-settings", short.folder, "judge rules"):
        write_sheet(short, 2, 0, tmp_path / "audit")
    assert not (tmp_path / "audit").exists()


def test_a_row_in_several_cells_is_drawn_once(run, tmp_path):
    """Where a method changes nothing, it shares the rows of the uncalibrated model."""
    lines = [json.loads(line) for line in (run.folder / "labels.jsonl").open(encoding="utf-8")]
    for one in lines:
        del one["crc32"]
    plain = [one for one in lines if one["method"] == "none"]
    same = [{**one, "method": "steer", "layer": 3, "strength": 1.0} for one in plain]
    text = "".join(json.dumps(one) + "\n" for one in [*plain, *same])
    (run.folder / "labels.jsonl").write_text(text, encoding="utf-8")
    (run.folder / "operating_points.json").write_text(
        json.dumps([{"method": "steer", "layer": 3, "strength": 1.0, "strength_means": ""}]),
        encoding="utf-8",
    )
    sheet, notes = write_sheet(Run.load(run.folder), 1000, 0, tmp_path / "audit")
    ids = [row["id"] for row in rows_of(sheet)]
    assert len(set(ids)) == len(ids) and "from 8 cells" in notes[-1]


def test_blocked_responses_are_not_drawn(tmp_path):
    some = [example for example in asked() if example.safety and example.split == "test"]
    kept = some[0].id
    stopped = {example.id: "blocked" for example in some if example.id != kept}
    run = Run.load(write_run(tmp_path / "run", finish=stopped))
    sheet, _ = write_sheet(run, 50, 0, tmp_path / "audit")
    by_id = {row.row: row for row in run.rows}
    uncalibrated = {by_id[row["id"]] for row in rows_of(sheet)}
    assert {row.example for row in uncalibrated} == {kept}
