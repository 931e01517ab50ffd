"""CONTRIBUTING and docs/adding.md, followed word for word in a copy of the repository.

Their files are added there. Then the checks, the tests that concern the additions, and one sweep
with all of them must pass.
"""

import contextlib
import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("CONTRIBUTING.md", "docs/adding.md")
BIN = Path(sys.executable).parent
NOT_COPIED = {".git", "build", "dist", "outputs", "runs", "shared"}
"""Folders at the top of a checkout that are not part of the repository, besides environments and
caches."""
CHECKS = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports"])
ADDED = "centre or soften or signs or sorry or (mine and model)"
TESTS = {
    "tests/methods/test_centre.py": "",
    "tests/methods/test_mixed_rows.py": "centre or soften",
    "tests/methods/test_every_method.py": "centre or soften or yaml or interface",
    "tests/docs/test_commands.py": ADDED,
    "tests/docs/test_configuration.py": "",
    "tests/docs/test_methods.py": "",
    "tests/config/test_choices.py": "",
    "tests/config/test_schemas.py": f"{ADDED} or dataclass or explanation or defaults",
    "tests/data/published/test_signs.py": "",
    "tests/judges/test_registry.py": "",
    "tests/cli/test_config_errors.py": "another_option or list_of_options or values_of_an_error",
    "tests/experiments/test_experiments.py": "composes or published",
}
"""Files with tests that concern additions: those of the additions, and those that look at all
options. With a selection of their tests, as pytest's -k has it."""
REWRITE = """
import runpy, sys
sys.path.insert(0, "tests/support")
for script in sys.argv[1:]:
    runpy.run_path(script, run_name="__main__")
"""
pytestmark = pytest.mark.slow


def files(page: str) -> dict[str, str]:
    """The complete files on a page: their contents by path.

    They may exist already, where someone follows the page in a checkout.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = r"`((?:calib|conf|tests)/[\w/]+\.\w+)`:\n\n```\w+\n(.*?)```"
    return dict(re.findall(blocks, text, re.DOTALL))


def scripts() -> list[str]:
    """The scripts that the pages run to rewrite generated pages."""
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    found = set(re.findall(r"python (tests/support/\w+\.py)", text))
    return sorted(found - {"tests/support/what_works.py"})  # of a new model family, not added here


def sweep() -> list[str]:
    """The arguments of the sweep at the top of docs/adding.md."""
    text = (ROOT / "docs/adding.md").read_text(encoding="utf-8").replace("\\\n", "")
    (command,) = re.findall(r"^python (-m calib\.sweep model=mine .*)$", text, re.MULTILINE)
    return command.replace("FOLDER", "tests/data/published/copies/signs").split()


def finished(copy: Path, command: list[str]) -> str:
    """The output of a command in the copy, which must succeed."""
    done = subprocess.run(
        command,
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def not_copied(folder: str, names: list[str]) -> list[str]:
    caches = {name for name in names if re.fullmatch(r"__pycache__|\..+_cache", name)}
    if Path(folder) != ROOT:
        return [*caches]
    return [*caches, *(name for name in names if name in NOT_COPIED or name.startswith(".venv"))]


def copy_databases(source: Path, target: Path) -> None:
    """Copy mypy's cache as it is at this moment: `make check` may be writing it."""
    for path in source.rglob("*.db"):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as live,
            contextlib.closing(sqlite3.connect(copied)) as database,
        ):
            live.backup(database)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with everything that the pages add."""
    folder = tmp_path_factory.mktemp("contribution") / "calib"
    shutil.copytree(ROOT, folder, ignore=not_copied)
    copy_databases(ROOT / ".mypy_cache", folder / ".mypy_cache")
    for page in PAGES:
        for name, text in files(page).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    finished(folder, [sys.executable, "-c", REWRITE, *scripts()])
    return folder


@pytest.fixture(scope="module")
def run(copy: Path) -> Path:
    """The folder of a sweep with all additions."""
    finished(
        copy,
        [
            sys.executable,
            *sweep(),
            "methods.centre.layers=[3]",
            "methods.soften.layers=[3]",
            "utility.limit=6",
            "generation.max_new_tokens=12",
            "out=run",
        ],
    )
    return copy / "run"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


@pytest.mark.parametrize("command", CHECKS, ids=" ".join)
def test_the_checks_pass(copy: Path, command: list[str]) -> None:
    if command == ["mypy"]:  # the other files are those that `make check` has checked
        command = [*command, *(n for page in PAGES for n in files(page) if is_checked(n))]
    finished(copy, [str(BIN / command[0]), *command[1:]])


def is_checked(name: str) -> bool:
    return name.startswith("calib/") and name.endswith(".py")


def test_the_tests_pass(copy: Path) -> None:
    chosen = [f"(not {Path(file).stem} or {words})" for file, words in TESTS.items() if words]
    options = ["-q", "-rp", "-n", "0", "-p", "no:cacheprovider", "-k", " and ".join(chosen)]
    printed = finished(copy, [sys.executable, "-m", "pytest", *options, *TESTS])
    passed = set(re.findall(r"^PASSED (.+?)::", printed, re.MULTILINE))
    assert passed == set(TESTS)


def test_the_methods_are_swept(run: Path) -> None:
    with (run / "results.csv").open(encoding="utf-8") as file:
        settings = {(row["method"], row["layer"], row["strength"]) for row in csv.DictReader(file)}
    for method in ("centre", "soften"):
        own = {setting for setting in settings if setting[0] == method}
        assert own == {(method, "3", "0.5"), (method, "3", "1.0")}


def test_the_operators_are_recorded(run: Path) -> None:
    edits = [edit for row in lines(run / "rows.jsonl") for edit in row["edits"]]
    assert {edit["operator"] for edit in edits} == {"low_rank", "soften"}


def test_the_model_and_the_benchmark_are_used(run: Path) -> None:
    assert (
        json.loads((run / "run.json").read_text(encoding="utf-8"))["identity"]["model"]["name"]
        == "mine"
    )
    signs = [row for row in lines(run / "examples.jsonl") if row["id"].startswith("signs/")]
    assert {(row["safety"], row["dataset"]) for row in signs} == {
        ("safe", "text_centric"),
        ("unsafe", "text_centric"),
    }
    safe_pairs, unsafe_pairs = (
        {row["pair"] for row in signs if row["safety"] == safety} for safety in ("safe", "unsafe")
    )
    assert safe_pairs == unsafe_pairs


def test_the_judge_gives_the_labels(run: Path) -> None:
    responses = {row["row"]: row["response"] for row in lines(run / "rows.jsonl")}
    safety = [row for row in lines(run / "labels.jsonl") if row["example"].startswith("signs/")]
    assert safety and {row["judge"] for row in safety} == {"sorry"}
    for row in safety:
        refused = "sorry" in responses[row["row"]] or "cannot" in responses[row["row"]]
        assert (row["label"] == "refusal") == refused


def test_the_metric_is_in_the_results_and_the_report(run: Path) -> None:
    unsafe = {
        row["id"]
        for row in lines(run / "examples.jsonl")
        if (row["safety"], row["split"]) == ("unsafe", "test")
    }
    labels = [
        row["label"]
        for row in lines(run / "labels.jsonl")
        if row["example"] in unsafe and row["method"] == "none"
    ]
    with (run / "results.csv").open(encoding="utf-8") as file:
        cells = ("metric", "method", "split", "dataset")
        totals = {tuple(row[cell] for cell in cells): row for row in csv.DictReader(file)}
    total = totals["ASR", "none", "test", "all"]
    assert labels and int(total["n"]) == len(labels)
    assert float(total["value"]) == pytest.approx(labels.count("answer") / len(labels), abs=1e-6)
    assert ">ASR</th>" in (run / "report.html").read_text(encoding="utf-8")
