"""The page as a file: the same every time, complete, and nothing in it from outside."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from calib.report.page import write
from calib.report.page.write import write_report
from calib.util.errors import CalibError


class Page(HTMLParser):
    """What a reader without a browser can know of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.text, self.scripts, self.policy = [], [], "", [], ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        values = dict(attributes)
        self.tags.append(name)
        self._inside = name if name in ("script", "style") else ""
        if name == "script":
            self.scripts.append([values.get("type"), ""])
        self.addresses += [values[key] for key in ("href", "src", "action") if key in values]
        assert not [key for key in values if key.startswith("on")], name
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]

    def handle_endtag(self, name):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1][1] += data
        elif not self._inside:
            self.text += data


def written(runs, out, **options):
    return Page(write_report(runs, out, **options).read_text(encoding="utf-8"))


def test_equal_runs_give_equal_bytes_at_any_time(run, tmp_path, monkeypatch):
    one = write_report([run], tmp_path / "run" / "a.html").read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert write_report([run], tmp_path / "run" / "b.html").read_bytes() == one


def test_only_its_own_script_may_run_and_nothing_is_loaded(run, tmp_path):
    page = written([run], tmp_path / "report.html")
    (code,) = [text for kind, text in page.scripts if kind is None]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert all(one.startswith(("#", "./")) for one in page.addresses)
    assert not {"link", "iframe", "object", "base", "img"} & set(page.tags)
    assert "url(http" not in (tmp_path / "report.html").read_text()


def test_what_is_said_and_in_which_order(run, tmp_path):
    text = " ".join(written([run], tmp_path / "report.html").text.split())
    parts = [
        "some/checkpoint", "Runrun", "Datamini", "Judgerules",
        "Did calibration help, and what did it cost?", "Yes.", "raised SRA by 25.0 points",
        "Test split, steer (layer 3, strength 1), chosen on validation",
        "No prompt-only method was asked in this run, so the bar to beat is not known",
        "Results", "uncalibrated baseline", "steer chosen", "By part, variant and category",
        "Record", "results.csv", "Settings (config.yaml)", "mapping: calib", "Versions", "Examples",
    ]  # fmt: skip
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert "model organism" not in text and "Comparison" not in text


def test_mini_internvl_is_called_a_model_organism(made, tmp_path):
    provenance = {"calib": "0.1.0", "date": "2026-01-02", "notes": ["n < 5"]}
    run = made.run(tmp_path / "run", made.examples(20), checkpoint="mini-internvl",
                   provenance=provenance)  # fmt: skip
    text = written([run], tmp_path / "report.html").text
    assert "not results on a published model" in text
    assert "Date2026-01-02" in text and "n < 5" in text


def test_the_numbers_of_the_table_are_those_of_the_results(run, tmp_path):
    text = write_report([run], tmp_path / "report.html").read_text()
    rows = re.findall(r"<tr>(.*?)</tr>", text.partition('id="results-title"')[2])
    cells = [re.sub(r"<[^>]+>", "|", row) for row in rows]
    chosen = next(row for row in cells if "chosen" in row)
    assert "|+1|" in chosen and "|75.0 |(" in chosen and "|50.0 |(" in chosen
    assert "|0.100|" in chosen and "|36, 2|" in chosen


def test_hostile_text_is_text_and_the_file_stays_utf8(made, tmp_path, hostile):
    bad = "".join(hostile[:6])
    examples = [replace(one, category=bad, variant=bad, system=bad) for one in made.examples(20)]
    provenance = {"calib": bad, "date": bad, "notes": [bad], "packages": {bad: bad}}
    # A lone surrogate stands in a record as its escape.
    plain = bad.encode(errors="replace").decode()
    run = made.run(tmp_path / "run", examples, said=lambda e, s: bad, method=plain,
                   checkpoint=plain, provenance=provenance)  # fmt: skip
    run = run.replace(settings_text=plain)
    page = written([run], tmp_path / "report.html")
    assert [kind for kind, _ in page.scripts] == ["text/plain", "text/plain", None]
    assert not {"img", "svg", "b"} & set(page.tags)
    assert "<img src=x onerror='window.hacked=1'>" in page.text
    assert "\\u202e" in page.text and "\u202e" not in page.text


def test_a_name_of_a_folder_is_no_address(made, tmp_path):
    run = made.run(tmp_path / "javascript:alert(1)", made.examples(20))
    page = written([run], tmp_path / "report.html")
    assert "./javascript%3Aalert%281%29/results.csv" in page.addresses


def test_several_runs_are_compared_and_told_apart(made, tmp_path):
    runs = [made.run(tmp_path / k / "run", made.examples(20 + 20 * n)) for n, k in enumerate("ab")]
    text = written(runs, tmp_path / "report.html").text
    assert "calib report, 2 runs" in text and "Comparison" in text
    assert "run (1)" in text and "run (2)" in text and "are not comparable" in text


def test_a_prompt_only_method_is_the_bar(made, tmp_path):
    run = made.run(tmp_path / "run", made.examples(40))
    caution = {"method": "caution", "layer": None, "strength": 1.0}
    results = [*run.results, *(replace(r, **caution) for r in run.results if r.strength == 2)]
    point = run.operating_points[0] | {"method": "caution", "layer": None, "strength": 0.0,
                                       "kept_uncalibrated": True, "prompt_only": True}  # fmt: skip
    prompted = [replace(row, **caution) for row in run.rows if row.strength == 2]
    points = [*run.operating_points, point | {"reference": True}]
    both = run.replace(results=results, rows=[*run.rows, *prompted], operating_points=points)
    text = " ".join(written([both], tmp_path / "report.html").text.split())
    assert "Yes.steer (layer 3" in text
    assert (
        "The bar to beat, changing the prompt alone: caution (strength 1). steer (layer 3" in text
    )
    assert "beats it in SRA by 25.0 points" in text
    ranked = both.replace(operating_points=[*run.operating_points, point])
    text = " ".join(written([ranked], tmp_path / "report.html").text.split())
    assert "Yes: 1 of 2 methods measurably raised SRA." in text
    assert "No setting was better than uncalibrated on validation: caution." in text


def test_the_size_of_a_page_is_kept(made, tmp_path, monkeypatch):
    image = Image.effect_noise((300, 300), 90)
    noise = [image.rotate(k).convert("RGB") for k in range(30)]
    examples = [replace(one, picture=lambda k=k: noise[k % 30])
                for k, one in enumerate(made.examples(40))]  # fmt: skip
    run = made.run(tmp_path / "run", examples)
    monkeypatch.setattr(write, "LARGEST", 200_000)
    out = write_report([run], tmp_path / "report.html")
    assert 100_000 < out.stat().st_size <= 200_000
    assert "pictures were shrunk to" in out.read_text()
    small = write_report([run], tmp_path / "small.html", pictures=False, notes=["why <not>"])
    assert small.stat().st_size < out.stat().st_size
    assert "pictures=false" in small.read_text() and "why &lt;not&gt;" in small.read_text()


def test_what_is_no_finished_run_is_refused(run, tmp_path):
    with pytest.raises(CalibError, match="one finished run or more"):
        write_report([], tmp_path / "report.html")
    points = json.loads((run.folder / "operating_points.json").read_text())
    points[0]["strength"] = 9.0
    gone = run.replace(operating_points=points)
    with pytest.raises(CalibError, match="strength 9"):
        write_report([gone], tmp_path / "report.html")
    validation = run.replace(rows=[p for p in run.rows if p.example == "q0"])
    with pytest.raises(CalibError, match="no response on the test split"):
        write_report([validation], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
