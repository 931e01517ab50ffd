"""The page's section by part: rates, and folded tables of directions."""

import re
from dataclasses import replace
from pathlib import Path

from judged_runs import UNCALIBRATED, judged_run, query_rows
from runs_with_directions import run_with_directions, scored_direction

from calib.directions.parts import PartSeparation
from calib.report.page.parts_section import parts_section
from calib.report.verdict import plain_name


def cells(html):
    """The rows of every table: the texts of their cells."""
    return [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)
    ]


def separations(across):
    """Two parts with AUROC 0.9 within, and ``across`` between them."""
    values = {
        ("all", "image_centric"): 0.8, ("image_centric", "image_centric"): 0.9,
        ("text_centric", "image_centric"): across, ("all", "text_centric"): 0.8,
        ("image_centric", "text_centric"): 0.85, ("text_centric", "text_centric"): 0.9,
    }  # fmt: skip
    return [
        PartSeparation(*key, 1, auroc, auroc - 0.05, auroc + 0.05, 40, 20, 0.25, 30)
        for key, auroc in values.items()
    ]


def run_with_parts(**across):
    directions = {name: scored_direction() for name in across}
    run = run_with_directions(directions)
    found = {name: separations(value) for name, value in across.items()}
    return run.replace(part_separations=found)


def test_a_direction_has_a_folded_table_with_every_number():
    html = parts_section([run_with_parts(first=0.85)])
    rows = cells(html)
    assert rows[1][:2] == ["fitted on all", "0.80 (0.75 to 0.85), cos +0.25"]
    assert rows[2] == [
        "fitted on image_centric", "0.90 (0.85 to 0.95)", "0.85 (0.80 to 0.90), cos +0.25",
    ]  # fmt: skip
    assert rows[4] == ["n (clusters)", "40 (20)", "40 (20)"]
    assert html.count("<details>") == 1


def test_the_layer_of_the_operating_point_has_a_table_too():
    run = run_with_directions({"first": scored_direction()}, [("steer", 2)])
    weaker = [replace(each, layer=2, auroc=each.auroc - 0.1) for each in separations(0.85)]
    html = parts_section([run.replace(part_separations={"first": separations(0.85) + weaker})])
    captions = re.findall(r"<caption>(.*?)</caption>", html)
    assert ["layer 1 (" in text for text in captions] == [True, False]
    assert "layer 2 (operating point of steer)" in captions[1]
    same = run_with_directions({"first": scored_direction()}, [("steer", 1)])
    html = parts_section([same.replace(part_separations={"first": separations(0.85)})])
    assert html.count("<table") == 1


def test_directions_about_which_parts_disagree_come_first():
    html = parts_section([run_with_parts(first=0.85, second=0.4)])
    summaries = re.findall(r"<summary>(.*?)</summary>", html)
    assert ["disagree" in text for text in summaries] == [True, False]


def test_rates_of_every_part_have_intervals_and_n():
    rows = query_rows(UNCALIBRATED, 10, 30) + query_rows(
        UNCALIBRATED, 20, 20, dataset="text_centric"
    )
    html = parts_section([judged_run(rows, {})])
    head, uncalibrated, n = cells(html)
    assert head[1:3] == [f"all, {plain_name(name)}" for name in ("SRA_u", "SRA_s")]
    assert head[5] == f"text_centric, {plain_name('SRA_u')}"
    assert uncalibrated[0] == "uncalibrated" and uncalibrated[3].startswith("25.0 <span")
    assert n[0] == "n (clusters)" and [cell.split(" ")[0] for cell in n[1:]] == [
        "80", "80", "40", "40", "40", "40",
    ]  # fmt: skip
    assert n[3] == "40 (40)"


def test_runs_of_one_part_have_no_section():
    one = judged_run(query_rows(UNCALIBRATED, 10, 30), {})
    assert parts_section([one]) == ""
    several = [run_with_parts(first=0.85), one.replace(folder=Path("runs/b"), name="b")]
    assert parts_section(several).count("<h3>") == 1
