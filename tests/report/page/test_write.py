"""The page as a file: reproducible, complete, and without references to other files."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

from PIL import Image
from raising import raises

from calib.report.alarms import alarms
from calib.report.method_sentences import best_method_sentence, power_sentence
from calib.report.page import write
from calib.report.page.record_section import MODEL_ORGANISM
from calib.report.page.verdict_section import verdict_section
from calib.report.page.write import write_report
from calib.report.ranking import prompt_only_setting, rank_methods
from calib.report.sentences import p_text
from calib.report.verdict import KNOWLEDGE_LABEL, Effect


class Page(HTMLParser):
    """The parsed page: tags, addresses, text, scripts and policy."""

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


def parsed_report(runs, out, **options):
    return Page(write_report(runs, out, **options).read_text(encoding="utf-8"))


def test_equal_runs_give_equal_bytes_at_any_time(run, tmp_path, monkeypatch):
    first = write_report([run], tmp_path / "run" / "a.html").read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert write_report([run], tmp_path / "run" / "b.html").read_bytes() == first


def test_policy_allows_only_its_own_script_and_no_loading(run, tmp_path):
    page = parsed_report([run], tmp_path / "report.html")
    (code,) = [text for kind, text in page.scripts if kind is None]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert all(address.startswith(("#", "./")) for address in page.addresses)
    assert not {"link", "iframe", "object", "base", "img"} & set(page.tags)
    assert "url(http" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_sections_are_in_order_with_their_values(run, tmp_path):
    text = " ".join(parsed_report([run], tmp_path / "report.html").text.split())
    parts = [
        "some/checkpoint", "Runrun", "Datamini", "Judgerules",
        "Recommendation", "Switch on steer", "of unsafe queries are handled safely instead of",
        "How sure", "To deploy it",
        "Did calibration help", "Yes.", "raised SRA by 25.0 points",
        "Test split, steer (layer 3, strength 1)",
        "There is no prompt-only method",
        "Results", "uncalibrated baseline", "steer chosen", "By part, variant and category",
        "Record", "results.csv", "Settings (config.yaml)", "mapping: calib", "Versions", "Examples",
    ]  # fmt: skip
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places)
    assert MODEL_ORGANISM.partition("{}")[2] not in text and "Comparison" not in text


def test_mini_internvl_is_marked_as_a_model_organism(made, tmp_path):
    command = "python -m calib.sweep 'data.file=<b>.csv'"
    provenance = {"calib": "0.1.0", "date": "2026-01-02", "notes": ["n < 5"], "command": command}
    run = made.run(tmp_path / "run", made.examples(20), checkpoint="mini-internvl",
                   provenance=provenance)  # fmt: skip
    text = parsed_report([run], tmp_path / "report.html").text
    assert MODEL_ORGANISM.format("mini-internvl") in text
    assert "Date2026-01-02" in text and "n < 5" in text and text.count(command) == 1


def test_table_has_the_numbers_of_the_results(run, tmp_path):
    text = write_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    rows = re.findall(r"<tr>(.*?)</tr>", text.partition('id="results-title"')[2])
    cells = [re.sub(r"<[^>]+>", "|", row) for row in rows]
    chosen = next(row for row in cells if "chosen" in row)
    assert "|+1|" in chosen and "|75.0 |(" in chosen and "|50.0 |(" in chosen
    assert "|0.100|" in chosen and "|36 (18)||2|" in chosen


def test_the_table_marks_rates_that_rest_on_responses_that_were_cut(run, tmp_path):
    assert "SRA: cut" not in write_report([run], tmp_path / "a.html").read_text(encoding="utf-8")
    queries = [row for row in run.judged if row.dataset in ("image_centric", "text_centric")]
    cut = {
        (row.key, row.example_id) for k, row in enumerate(queries)
        if row.split == "test" and row.method == "steer" and not k % 2
    }  # fmt: skip
    judged = [
        replace(row, truncated=(row.key, row.example_id) in cut and row in queries)
        for row in run.judged
    ]
    settings = run.settings | {"generation": {"max_new_tokens": 41}}
    text = write_report(
        [run.replace(judged=judged, settings=settings)], tmp_path / "b.html"
    ).read_text(encoding="utf-8")  # fmt: skip
    table = text.partition('id="results-title"')[2].partition("</table>")[0]
    assert "SRA: cut" in table and "utility: cut" not in table
    assert "were cut at 41 tokens" in text and "cut at max_new_tokens" in text


def test_hostile_text_is_escaped_and_the_file_is_utf8(made, tmp_path, hostile):
    bad = "".join(hostile[:6])
    examples = [replace(each, category=bad, variant=bad, system=bad) for each in made.examples(20)]
    provenance = {"calib": bad, "date": bad, "notes": [bad], "packages": {bad: bad}, "command": bad}
    # A lone surrogate stands in a record as its escape.
    plain = bad.encode(errors="replace").decode()
    run = made.run(tmp_path / "run", examples, response=lambda e, s: bad, method=plain,
                   checkpoint=plain, provenance=provenance)  # fmt: skip
    run = run.replace(settings_text=plain)
    page = parsed_report([run], tmp_path / "report.html")
    assert [kind for kind, _ in page.scripts] == ["text/plain", "text/plain", None]
    assert not {"img", "b"} & set(page.tags)  # the svg of a swatch has no on... attribute
    assert "<img src=x onerror='window.hacked=1'>" in page.text
    assert "\\u202e" in page.text and "\u202e" not in page.text


def test_folder_name_is_not_an_address(made, tmp_path):
    run = made.run(tmp_path / "javascript:alert(1)", made.examples(20))
    page = parsed_report([run], tmp_path / "report.html")
    assert "./javascript%3Aalert%281%29/results.csv" in page.addresses


def test_several_runs_are_compared_by_name(made, tmp_path):
    runs = [
        made.run(tmp_path / name / "run", made.examples(count), method=method).replace(
            name=f"{name}/run"
        )
        for name, count, method in (("a", 20, "steer"), ("b", 40, "ablate"))
    ]
    text = " ".join(parsed_report(runs, tmp_path / "report.html").text.split())
    assert "2 runs" in text and "Comparison" in text and "One recommendation over 2 runs" in text
    assert "a/run" in text and "b/run" in text
    # Both methods did the same on the shared queries, of which run a has all and run b has more.
    assert "of 2 methods measurably" in text and "18 (a/run 18, b/run 36)" not in text
    assert "16 (a/run 16, b/run 36)" in text and text.count("Switch ") == 1
    other = [runs[0], runs[1].replace(checkpoint="another/checkpoint")]
    text = " ".join(parsed_report(other, tmp_path / "other.html").text.split())
    assert "another/checkpoint" in text.partition("There is no joint verdict")[2]
    assert text.count("Switch ") == 2


def test_prompt_only_method_is_compared_with_the_best_method(made, tmp_path):
    run = made.run(tmp_path / "run", made.examples(40))
    caution = {"method": "caution", "layer": None, "strength": 1.0}
    results = [*run.results, *(replace(r, **caution) for r in run.results if r.strength == 2)]
    point = run.operating_points[0] | {"method": "caution", "layer": None, "strength": 0.0,
                                       "kept_uncalibrated": True, "prompt_only": True}  # fmt: skip
    prompted = [replace(row, **caution) for row in run.rows if row.strength == 2]
    points = [*run.operating_points, point | {"reference": True}]
    both = run.replace(results=results, rows=[*run.rows, *prompted], operating_points=points)
    text = " ".join(parsed_report([both], tmp_path / "report.html").text.split())
    html = (
        (tmp_path / "report.html").read_text(encoding="utf-8").partition('id="comparison-title"')[2]
    )
    _, steer, caution = re.findall(r"<tr>(.*?)</tr>", html)[:3]
    # The prompt is compared with although it was not chosen, so its row is not empty.
    assert "caution*" in caution and "uncalibrated kept" in caution and ">+1<" in caution
    change = verdict_of(both, "caution").change_at(best_prompt(both))
    assert f'data-value="{change.sra.value:.6f}"' in caution
    assert "Rank (95% CI)" in html and ">1<" in steer
    assert "Yes.steer (layer 3" in text
    assert "caution (strength 1). steer (layer 3" in text
    assert "beats it in SRA by 25.0 points" in text
    searched = [record | {"settings": count} for record, count in zip(points, (36, 1), strict=True)]
    parsed_report([both.replace(operating_points=searched)], tmp_path / "searched.html")
    unequal = "steer was selected from 36 settings, caution from 1."
    assert (
        unequal in (tmp_path / "searched.html").read_text(encoding="utf-8") and unequal not in text
    )
    ranked = both.replace(operating_points=[*run.operating_points, point])
    text = " ".join(parsed_report([ranked], tmp_path / "report.html").text.split())
    assert "Yes: 1 of 2 methods" in text
    assert f"{Effect.KEPT}: caution." in text and f"{Effect.HELPED}: steer." in text
    best = rank_methods(ranked)
    assert best_method_sentence(best) in text and power_sentence(best) in text
    assert "p (Holm)" in text and p_text(best[0].p) in text


def verdict_of(run, name):
    return next(verdict for verdict in rank_methods(run) if verdict.method.name == name)


def best_prompt(run):
    return prompt_only_setting(verdict_of(run, "caution").method)


def test_alarms_come_before_the_verdict(made, tmp_path):
    run = made.run(tmp_path / "run", made.examples(40)).replace(judge="string")
    text = parsed_report([run], tmp_path / "report.html").text
    (alarm,) = [text for text in alarms(run) if "judge=string" in text]
    assert -1 < text.index(alarm) < text.index("Did calibration help")


def test_knowledge_has_a_row_before_and_after(run):
    rows = [replace(row, dataset="knowledge", correct=row.strength == 0, example_id=f"k{k}")
            for k in range(8) for row in run.judged if row.dataset == "utility"]  # fmt: skip
    with_knowledge = run.replace(judged=[*run.judged, *rows])
    text = verdict_section([with_knowledge], [rank_methods(with_knowledge)])
    assert KNOWLEDGE_LABEL.capitalize() in text and "knowledge fell by 100.0 points" in text
    assert KNOWLEDGE_LABEL.capitalize() not in verdict_section([run], [rank_methods(run)])


def test_page_stays_below_the_maximum_size(made, tmp_path, monkeypatch):
    image = Image.effect_noise((300, 300), 90)
    noise = [image.rotate(k).convert("RGB") for k in range(30)]
    examples = [replace(each, picture=lambda k=k: noise[k % 30])
                for k, each in enumerate(made.examples(40))]  # fmt: skip
    run = made.run(tmp_path / "run", examples)
    monkeypatch.setattr(write, "MAX_PAGE", 200_000)
    out = write_report([run], tmp_path / "report.html")
    assert 100_000 < out.stat().st_size <= 200_000
    assert "pictures were shrunk" in out.read_text(encoding="utf-8")
    small = write_report([run], tmp_path / "small.html", pictures=False, notes=["why <not>"])
    assert small.stat().st_size < out.stat().st_size
    assert "pictures=false" in small.read_text(
        encoding="utf-8"
    ) and "why &lt;not&gt;" in small.read_text(encoding="utf-8")


def test_unfinished_runs_are_errors(run, tmp_path):
    with raises("missing-value"):
        write_report([], tmp_path / "report.html")
    points = json.loads((run.folder / "operating_points.json").read_text(encoding="utf-8"))
    points[0]["strength"] = 9.0
    gone = run.replace(operating_points=points)
    with raises("mismatch", "strength 9"):
        write_report([gone], tmp_path / "report.html")
    validation = run.replace(rows=[p for p in run.rows if p.example == "q0"])
    with raises("too-few", "test"):
        write_report([validation], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
