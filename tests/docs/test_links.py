"""Links and pictures of the pages lead somewhere; what the pages quote is what the files say."""

import contextlib
import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

import calib
from calib.config.choices import SPLITS
from calib.config.data import PairsData
from calib.data.benchmarks import load_benchmark
from calib.data.example import pairs
from calib.report.terminal_tables import BREAKDOWN_METRICS
from calib.scoring.results import read_results
from experiments.steering_mini import table

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
INDEX = ROOT / "docs" / "README.md"
WIDTH, SCREENS = 100, 90
"""Columns of a line of text, and lines of the README: two screens."""


def prose(page: Path) -> str:
    """A page without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "code", text)


def links(page: Path) -> list[str]:
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for title in re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title.strip())
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_of_the_docs_is_in_their_index():
    named = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(INDEX)}
    assert {page for page in PAGES if page.parent == INDEX.parent} - {INDEX} <= named


def test_the_readme_is_two_screens_with_one_picture():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= SCREENS
    assert [line for line in lines if len(line) > WIDTH and not line.startswith("|")] == []
    assert sum(line.startswith("![") for line in lines) == 1


def rows(page: Path, first: str) -> list[list[str]]:
    """The cells of the table whose head begins with ``first``, without head and rule."""
    text = page.read_text()
    shown = text[text.index(f"| {first} |") :].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()[2:]
    ]


# --- what is quoted


def percent(rate: Any) -> str:
    return f"{100 * rate.value:.1f}% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def test_the_readme_quotes_the_study_of_all_methods():
    (run,) = read_results(ROOT / "experiments/all_methods/results.csv")
    found = {
        (r.method, r.layer, r.strength, r.metric): r
        for r in run.results
        if (r.split, r.dataset, r.variant, r.category) == ("test", "all", "all", "all")
    }
    study = {
        line[0].removesuffix("\\*"): line[4]
        for line in rows(ROOT / "experiments/all_methods/README.md", "method")
    }
    settings = {
        "uncalibrated": ("none", None, 0.0),
        "steer": ("steer", 3, -1.0),
        "few_shot": ("few_shot", None, 1.0),
        "refusal_control": ("refusal_control", 4, 1.5),
    }
    quoted = rows(ROOT / "README.md", "test split")
    assert [re.match(r"`?(\w+)", line[0])[1] for line in quoted] == list(settings)
    for line, (name, setting) in zip(quoted, settings.items(), strict=True):
        for cell, metric in zip(line[1:3], ("SRA_u", "SRA_s"), strict=True):
            rate = found[*setting, metric]
            assert (cell, rate.n) == (percent(rate), 200)
        assert line[3] == study[name]


def test_the_tutorial_quotes_the_main_job():
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        table.main(ROOT / "experiments/steering_mini/totals.csv")
    lines = [line for line in said.getvalue().splitlines() if line.startswith("|")]
    assert len(lines) > 10
    page = (ROOT / "docs/tutorial.md").read_text()
    assert [line for line in lines[2:] if line not in page] == []


def test_every_metric_of_a_results_file_is_defined():
    page = (ROOT / "docs/metrics.md").read_text()
    with (ROOT / "experiments/all_methods/results.csv").open() as file:
        names = {row["metric"] for row in csv.DictReader(file)}
    assert {"SRA", "KL", "utility"} <= names
    names |= {"change_M", "unread", "accuracy_plus", *(f"paper_{one}" for one in BREAKDOWN_METRICS)}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_the_pages_name_the_methods_of_the_study():
    (run,) = read_results(ROOT / "experiments/all_methods/results.csv")
    methods = {result.method for result in run.results} - {"none"}
    assert f"{len(methods)} methods" in (ROOT / "README.md").read_text()
    tutorial = (ROOT / "docs/tutorial.md").read_text()
    assert [name for name in sorted(methods) if f"`{name}`" not in tutorial] == []


def test_the_example_pairs_are_what_the_pages_say():
    found = load_benchmark(PairsData(file=str(ROOT / "docs/example_pairs/pairs.csv"))).examples
    twins = pairs(found)
    assert (len(twins), len(found)) == (48, 96)
    assert sum(pair.safe.picture is not None for pair in twins) == 24
    by_split = Counter(pair.safe.split for pair in twins)
    assert all(by_split[split] >= 5 for split in SPLITS)
    assert f"{by_split['test']} test pairs" in (ROOT / "docs/tutorial.md").read_text()
    shown = {path.name for path in (ROOT / "docs/example_pairs/pictures").iterdir()}
    assert len(shown) == 48


# --- how to cite


def test_the_citation_is_valid_and_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == calib.__version__
    assert cited["authors"] == [{"name": "The calib authors"}]
    known = {one["value"] for work in cited["references"] for one in work["identifiers"]}
    assert known == {"arXiv:2505.20362", "arXiv:2510.10846"}
    for work in cited["references"]:
        assert {"type", "title", "authors"} <= work.keys()
        assert work["url"].endswith(work["identifiers"][0]["value"].removeprefix("arXiv:"))


def test_the_changelog_has_a_place_for_what_comes():
    sections = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == "Unreleased"
