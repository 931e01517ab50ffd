"""Links of the pages are valid, and the pages' quotes equal the files that they quote."""

import ast
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
from calib.scoring.metrics import shown_metrics, shown_names
from calib.scoring.results import read_results
from experiments.all_methods import table as methods_table
from experiments.steering_mini import table

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    ROOT / "CODE_OF_CONDUCT.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
INDEX = ROOT / "docs" / "README.md"
WIDTH = 100
"""Columns of a line, unless it is a row of a table."""
STUDY = ROOT / "experiments" / "all_methods"
SECOND = STUDY / "mini_internvl_2"


def without_code_blocks(page: Path) -> str:
    return re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]+`", "code", without_code_blocks(page))
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)


def anchors(page: Path) -> set[str]:
    """GitHub's anchors of a page's headings."""
    names: set[str] = set()
    counts: Counter[str] = Counter()
    for title in re.findall(r"^#{1,6} (.+)$", without_code_blocks(page), flags=re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title.strip())
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        names.add(f"{name}-{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_are_valid(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_index_has_every_page_of_the_docs():
    indexed = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(INDEX)}
    assert {page for page in PAGES if page.parent == INDEX.parent} - {INDEX} <= indexed


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md", "docs/gotchas.md"])
def test_lines_fit_a_terminal(name):
    lines = without_code_blocks(ROOT / name).splitlines()
    assert [line for line in lines if len(line) > WIDTH and not line.startswith("|")] == []


def test_the_readme_shows_a_figure_of_a_study():
    shown = re.findall(
        r"^!\[.+\]\((.+)\)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert shown and all(path.startswith("experiments/") for path in shown)


# Names in the pages


def test_classes_in_the_glossary_exist():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[A-Z][a-z]+)+)`", text))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "calib").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    assert len(named) > 10 and named <= classes, named - classes


def test_python_names_in_the_library_page_exist():
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    names = set(re.findall(r"\bcalib\.([A-Za-z_]+)", text)) - {"sweep"}  # a command
    methods = set(re.findall(r"\bvlm\.(\w+)", text))
    assert names and [name for name in names if not hasattr(calib, name)] == []
    assert methods and [name for name in methods if not hasattr(calib.Model, name)] == []


def test_every_metric_of_a_results_file_is_defined():
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    with (STUDY / "results.csv").open(encoding="utf-8") as file:
        names = {row["metric"] for row in csv.DictReader(file)}
    assert {"SRA", "KL", "utility"} <= names
    names |= {"change_M", "unread", "accuracy_plus"}
    names |= {f"paper_{m.name}" for m in shown_metrics("breakdown") if m.per_mapping}
    names |= set(shown_names("breakdown"))
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_the_pages_name_the_methods_of_the_study():
    (run,) = read_results(SECOND / "results.csv")
    methods = {result.method for result in run.results} - {"none"}
    numbers = re.findall(r"(\d+) methods", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert numbers and set(numbers) == {str(len(methods))}
    tutorial = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    assert [name for name in sorted(methods) if f"`{name}`" not in tutorial] == []


# Quoted numbers


def rows(page: Path, first: str) -> list[list[str]]:
    """The body of the table whose first column is named ``first``, as cells."""
    text = page.read_text(encoding="utf-8")
    shown = text[text.index(f"| {first} |") :].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()[2:]
    ]


def percent(rate: Any) -> str:
    return f"{100 * rate.value:.1f}% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"


def test_the_readme_quotes_the_study_of_all_methods():
    (run,) = read_results(SECOND / "results.csv")
    results = {
        (r.method, r.layer, r.strength, r.metric): r
        for r in run.results
        if (r.split, r.dataset, r.variant, r.category) == ("test", "all", "all", "all")
    }
    study = methods_table.read(SECOND / "methods.csv")
    settings = {
        "uncalibrated": ("none", None, 0.0),
        "steer": ("steer", 3, 1.0),
        "refusal_control": ("refusal_control", 5, 0.5),
        "few_shot": ("few_shot", None, 204.0),
        "self_check": ("self_check", None, 5.0),
        "two_sided": ("two_sided", 5, 0.5),
        "vlm_guard": ("vlm_guard", 0, 1.0),
    }
    quoted = rows(ROOT / "README.md", "test split")
    assert [re.match(r"`?(\w+)", line[0])[1] for line in quoted] == list(settings)
    for line, (name, setting) in zip(quoted, settings.items(), strict=True):
        for cell, metric in zip(line[1:3], ("SRA_u", "SRA_s"), strict=True):
            rate = results[*setting, metric]
            assert (cell, rate.n, rate.clusters) == (percent(rate), 200, 16)
        assert line[3] == (methods_table.change(study[name], "SRA") if name in study else "")
    prose = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = [("vlm_guard", "warned_s")]
    told += [(n, "paper_SRA") for n in ("uncalibrated", "self_check", "two_sided", "vlm_guard")]
    for name, metric in told:
        assert percent(results[*settings[name], metric]) in prose, (name, metric)


@pytest.mark.parametrize(
    ("files", "count"),
    [(("methods.csv", "methods_split_1.csv"), 23), (("mini_internvl_2/methods.csv",), 24)],
)
def test_the_study_of_all_methods_has_the_tables_of_its_files(files, count):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        methods_table.main(*(STUDY / name for name in files))
    lines = [line for line in output.getvalue().splitlines() if line.startswith("|")]
    page = (STUDY / "README.md").read_text(encoding="utf-8")
    assert len(lines) == 2 + count and [line for line in lines if line not in page] == []


def test_the_tutorial_quotes_the_main_job():
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        table.main(ROOT / "experiments/steering_mini/totals.csv")
    lines = [line for line in output.getvalue().splitlines() if line.startswith("|")]
    assert len(lines) == 9  # a head of two lines and seven strengths
    page = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    assert [line for line in lines[2:] if line not in page] == []


def test_the_pages_give_the_size_of_the_example_pairs():
    folder = ROOT / "docs" / "example_pairs"
    examples = load_benchmark(PairsData(file=str(folder / "pairs.csv"))).examples
    twins = pairs(examples)
    by_split = Counter(pair.safe.split for pair in twins)
    assert all(by_split[split] >= 5 for split in SPLITS)
    assert f"{len(twins)} example pairs" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{by_split['test']} test pairs" in (ROOT / "docs/tutorial.md").read_text(
        encoding="utf-8"
    )
    with_picture = [example for example in examples if example.picture is not None]
    assert len(list((folder / "pictures").iterdir())) == len(with_picture) > 0


# Citation and changelog


def test_the_citation_is_valid_and_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= cited.keys()
    assert cited["version"] == calib.__version__
    assert cited["authors"] and all(author.get("name") for author in cited["authors"])
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for work in cited["references"]:
        assert {"type", "title", "authors"} <= work.keys()
        (identifier,) = work["identifiers"]
        number = identifier["value"].removeprefix("arXiv:")
        assert work["url"].endswith(number) and number in readme


def test_the_changelog_has_a_section_for_the_next_version():
    sections = re.findall(
        r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sections[0] == "Unreleased"
