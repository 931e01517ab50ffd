"""Every method of conf/method: its documentation, its commands, and a small sweep of it."""

import contextlib
import csv
import importlib
import inspect
import io
import json
import re
import shlex

import in_process
import pytest
import torch
from composing import composed
from raising import raises

from calib import methods, sweep
from calib.config.method import Activation
from calib.config.prompts import Calibration
from calib.config.schemas import CONF
from calib.config.sweep import SweepConfig
from calib.directions.direction import Direction, write_direction
from calib.runs.labels.rejudging import rejudge
from calib.runs.run import Run

OPTIONS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
METHODS = [option for option in OPTIONS if option != "none"]
TINY = (
    "data.limit=20", "data.parts=[image_centric]", "data.split_by=pair", "utility.limit=6",
    "generation.max_new_tokens=12", "method@reference=none",
)  # fmt: skip
"""Split by pair, because few concepts are left for each split."""
pytestmark = pytest.mark.usefixtures("undrawn")


def header(option):
    """The comment that a method's YAML begins with."""
    lines = (CONF / "method" / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    return [line[1:] for line in lines[: lines.index("defaults:")]]


def commands(option):
    """The command lines in a header, as a shell reads them."""
    text = "\n".join(header(option)).replace("\\\n", "")
    return [
        shlex.split(line)[3:]
        for line in text.splitlines()
        if line.strip().startswith("python -m calib.sweep ")
    ]


def run(out, *overrides):
    """A tiny run in this process: its results on both splits, and its operating points."""
    sweep.main(composed("sweep", *TINY, *overrides, f"out={out}"))
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        results = list(csv.DictReader(file))
    return results, json.loads((out / "operating_points.json").read_text(encoding="utf-8"))


def grid(results, split, method):
    """The layers and strengths of a method in the results of a split."""
    return sorted(
        {
            (row["layer"], float(row["strength"]))
            for row in results
            if (row["method"], row["split"]) == (method, split)
        }
    )


def output(capsys):
    """The output so far, on one line."""
    return " ".join(capsys.readouterr().out.split())


def strengths_of(option, config):
    """Strengths for a small sweep: up to two, the largest of them the method's own or 1."""
    return [0.5, 1] if edits_activations(option, config) else config.strengths[:2]


def edits_activations(option, config):
    return isinstance(config, Activation) or option == "combine"


@pytest.mark.parametrize("option", OPTIONS)
def test_the_header_names_the_schema_and_its_commands_compose(option):
    shown = commands(option)
    assert shown, "no command in the header"
    assert all(f"method={option}" in arguments for arguments in shown)
    for arguments in shown:
        config = composed("sweep", *arguments)
        assert isinstance(config, SweepConfig)
        assert config.method.name == option
    text = " ".join(header(option))
    if option != "none":
        kind = type(config.method)
        where = f"{kind.__name__} in {kind.__module__.replace('.', '/')}.py"
        assert f"Settings, defaults and meanings: {where}." in text
        assert isinstance(config.method, Calibration) or option == "combine"


@pytest.mark.parametrize("option", METHODS)
def test_the_docstring_has_formula_source_and_the_meaning_of_strength(option):
    doc = importlib.import_module(f"calib.methods.{option}").__doc__
    assert re.search(r"^    \S.*(<-|=|->)", doc, re.MULTILINE), "neither formula nor steps"
    assert re.search(r"arXiv \d{4}\.\d{5}", doc) or option == "combine", "no paper"
    assert re.search(r"\b[Ss]trength", doc), "strength is not explained"
    assert f"calib/methods/{option}.py" not in doc


def test_settings_of_another_schema_are_refused():
    """Such as those of a run from before the method had a schema of its own."""
    with raises("mismatch", "method=vti", "Activation", "Sampled", "calib/methods/vti.py"):
        methods.check(Activation("vti"), None, [])


def test_every_file_has_a_yaml():
    files = {path.stem for path in (CONF.parent / "calib" / "methods").glob("[!_]*.py")}
    assert files == set(METHODS)


@pytest.fixture(scope="module")
def swept(request, tmp_path_factory):
    """One sweep of the methods that this session tests, which answers without a method and reads
    the data once for all of them: its folder, configurations by method, results, operating points
    and output."""
    tested = [item for item in request.session.items if item.originalname == "test_a_small_sweep"]
    options = [item.callspec.params["option"] for item in tested]
    configs = {option: composed("sweep", f"method={option}").method for option in options}
    overrides = []
    for option, config in configs.items():
        at = f"methods.{option}" + (".activation" if option == "combine" else "")
        overrides += [f"+method@methods.{option}={option}"]
        overrides += [f"{at}.strengths={strengths_of(option, config)}"]
        overrides += [f"{at}.layers=[3]"] if edits_activations(option, config) else []
    out, shown = tmp_path_factory.mktemp("every") / "run", io.StringIO()
    with in_process.undrawn(), contextlib.redirect_stdout(shown):
        results, points = run(out, "method=none", *overrides)
    return out, configs, results, {point["method"]: point for point in points}, shown.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("option", METHODS)
def test_a_small_sweep(swept, option):
    out, configs, results, points, shown = swept
    config = configs[option]
    strengths = strengths_of(option, config)
    for split in ("validation", "test"):
        assert grid(results, split, "none") == [("", 0.0)]
        settings = grid(results, split, option)
        (layer,) = {layer for layer, _ in settings}
        if not edits_activations(option, config) or getattr(config, "all_layers_at_once", False):
            assert layer == ""
        assert layer in ("", "3")
        assert [strength for _, strength in settings] == [float(s) for s in strengths]
    assert {row["method"] for row in results} == {"none", *points} == {"none", *configs}
    assert points[option]["strength"] in [0, *strengths]
    rows = [json.loads(line) for line in (out / "rows.jsonl").open(encoding="utf-8")]
    assert all(row["response"].strip() for row in rows if not row.get("purpose"))
    assert str(out / "results.csv") in " ".join(shown.split())


def test_strengths_within_a_kl_budget(tmp_path, capsys):
    """One of each sign, and the run's results have the KL by which they were selected."""
    arguments = ("method=steer", "method.layers=[3]", "method.kl=0.1")
    results, _ = run(tmp_path / "run", *arguments)
    output_of_run = output(capsys)
    (down, up) = grid(results, "validation", "steer")
    assert down[0] == up[0] == "3"
    assert down[1] < 0 < up[1]
    budgets = json.loads((tmp_path / "run" / "strengths.json").read_text(encoding="utf-8"))
    (within_budget,) = (entries for name, entries in budgets.items() if name != "crc32")
    assert sorted(entry["strength"] for entry in within_budget) == [down[1], up[1]]
    measured = {
        float(r["strength"]): float(r["value"])
        for r in results
        if (r["method"], r["split"], r["metric"]) == ("steer", "validation", "KL_base")
        and (r["dataset"], r["variant"], r["category"]) == ("utility", "all", "all")
    }
    for entry in within_budget:
        assert entry["kl"] <= 0.1
        assert measured[entry["strength"]] == pytest.approx(entry["kl"], rel=1e-3, abs=1e-6)
        assert f"{entry['strength']:+.3g}" in output_of_run
    before = (tmp_path / "run" / "rows.jsonl").read_bytes()
    run(tmp_path / "run", *arguments)
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == before


def test_of_variants_the_selected_and_the_first_are_run_on_test(tmp_path, capsys):
    out = tmp_path / "run"
    results, (point,) = run(out, "method=caution", "method.strengths=[1,2,9]", "utility=none")
    assert grid(results, "validation", "caution") == [("", 1.0), ("", 2.0), ("", 9.0)]
    selected = {("", point["strength"])} if point["strength"] else set()
    assert grid(results, "test", "caution") == sorted({("", 1.0)} | selected)
    assert (point["settings"], point["supervision"]) == (3, "none")
    assert point["variants"]["9"] == "text 3, place=system"
    if point["strength"]:
        assert point["variants"][f"{point['strength']:g}"] in output(capsys)
    rejudged, _, _ = rejudge(composed("judge", f"run={out}", "judge=string"), Run.load(out), None)
    assert rejudged.operating_points[0]["variants"] == point["variants"]
    tested = {r.strength for r in rejudged.results if (r.method, r.split) == ("caution", "test")}
    assert {rejudged.operating_points[0]["strength"], 0.0} <= {*tested, 0.0}


@pytest.mark.parametrize(("kl", "expected"), [("10", [("", 2.0)]), ("1e-9", [])])
def test_demonstrations_within_a_kl_budget(tmp_path, capsys, kl, expected):
    """The largest number of demonstrations within the budget; none if one is already too many."""
    arguments = ("method=few_shot", "method.strengths=[1,2]", f"method.kl={kl}")
    results, points = run(tmp_path / "run", *arguments)
    for split in ("validation", "test"):
        assert grid(results, split, "few_shot") == expected
    if not expected:
        assert points[0]["kept_uncalibrated"]


def test_auto_selects_the_layer_with_the_largest_effect(tmp_path, capsys):
    results, points = run(
        tmp_path / "run", "method=steer", "method.layers=auto", "method.strengths=[-1,1]"
    )
    ((layer, _), _) = grid(results, "validation", "steer")
    assert grid(results, "validation", "steer") == [(layer, -1.0), (layer, 1.0)]
    assert points[0]["layer"] == int(layer)
    effects = {int(k): float(v) for k, v in re.findall(r"(\d): ([+-]\d+)", output(capsys))}
    assert set(effects) == {0, 1, 2, 3, 4, 5}
    assert abs(effects[int(layer)]) == max(map(abs, effects.values()))


def test_a_combination_of_other_methods(tmp_path, capsys):
    results, _ = run(
        tmp_path / "run", "method=combine", "method@method.prompt=caution",
        "method@method.activation=conditional", "method.activation.strengths=[0.5,1]",
    )  # fmt: skip
    assert grid(results, "test", "combine") == [("", 0.5), ("", 1.0)]
    assert {r["method"] for r in results} == {"none", "combine"}
    assert "conditional: the cosine gate" in output(capsys)
    # The prompt is in every calibrated row, edits only where the gate is open.
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").open(encoding="utf-8")]
    caution = composed("sweep", "method=caution").method.texts["mini-internvl"]["text"][0]
    settings = {(bool(row["strength"]), row["system"], bool(row["edits"])) for row in rows}
    assert settings == {(False, None, False), (True, caution, True), (True, caution, False)}


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        ("method.kl=0.1 utility=none", "conflicting-settings", ["method.kl=0.1", "utility=none"]),
        (
            "method.layers=auto utility=none",
            "conflicting-settings",
            ["method.layers=auto", "utility=none"],
        ),
        (
            "method=combine method.activation.kl=1 utility=none",
            "conflicting-settings",
            ["kl=1", "utility=none"],
        ),
        ("method.contrast=safe", "invalid-setting", ["method.contrast", "'safe'", "'safety'"]),
        (
            "method.layers=auto method.all_layers_at_once=true",
            "conflicting-settings",
            ["method.layers=auto", "method.all_layers_at_once"],
        ),
        (
            "method=vti method.layers=auto",
            "conflicting-settings",
            ["method.layers=auto", "all_layers_at_once"],
        ),
        (
            "method=shiftdc method.captions=/no/such.csv",
            "not-found",
            ["method.captions=/no/such.csv"],
        ),
        ("method=shiftdc method.captions={captions}", "missing-value", ["{captions}"]),
        ("method.direction={narrow}", "mismatch", [64, "mini-internvl", 128]),
        ("method.direction=/no/such", "not-found", ["/no/such"]),
        ("method=few_shot method.strengths=[1.5]", "invalid-setting", ["method.strengths", 1.5]),
        ("method=few_shot method.strengths=[-1]", "invalid-setting", ["method.strengths", -1]),
        ("method=reminder method.strengths=[25]", "invalid-setting", ["method.strengths", 25]),
        ("method=combine method.prompt.strengths=[25]", "invalid-setting", [25, "method=reminder"]),
        (
            "method=combine method@method.prompt=steer",
            "invalid-setting",
            ["steer", "method@method.prompt"],
        ),
        ("method=combine method.prompt.kl=1", "conflicting-settings", ["method.prompt.kl"]),
        ("method=surgical method.layers=[1,6]", "invalid-value", ["layer 6", "mini-internvl"]),
        ("method=none +method@methods.a=steer +method@methods.b=steer", "duplicate", ["steer"]),
        ("experiment=vscbench_four methods.few_shot.strengths=[0.5]", "invalid-setting", [0.5]),
        ("method.name=stear", "unknown-name", ["method=stear", "'steer'"]),
    ],
)
def test_impossible_configurations_are_refused_before_the_run_starts(
    tmp_path, vlm, overrides, code, values
):
    narrow, captions = tmp_path / "narrow.safetensors", tmp_path / "captions.jsonl"
    ones = (torch.ones(1) for _ in range(3))
    origin = (vlm.checkpoint, None, vlm.fingerprint)
    write_direction(narrow, Direction(torch.eye(1, 64), *ones, [3], *origin))
    captions.write_text('{"id": "another", "caption": "a knife"}\n', encoding="utf-8")
    paths = {"narrow": narrow, "captions": captions}
    values = [str(value).format(**paths) for value in values]
    with raises(code, *values) as refused:
        arguments = overrides.format(**paths).split()
        sweep.main(composed("sweep", *TINY, *arguments, f"out={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()
    assert len(str(refused.value)) < 600


def test_one_method_twice_in_a_run(tmp_path):
    """Two configurations of a method have different names and the same file."""
    results, points = run(
        tmp_path / "run", "method=none", "+method@methods.one=steer", "+method@methods.two=steer",
        "methods.two.name=upwards", "methods.two.file=steer", "methods.one.strengths=[-1]",
        "methods.two.strengths=[1]", "methods.one.layers=2", "methods.two.layers=3",
    )  # fmt: skip
    assert grid(results, "test", "steer") == [("2", -1.0)]
    assert grid(results, "test", "upwards") == [("3", 1.0)]
    assert [point["method"] for point in points] == ["steer", "upwards"]


def test_a_method_without_a_file_is_refused(vlm):
    config = composed("sweep").method
    config.name = "none"
    with raises("unknown-name", "method=none"):
        methods.check(config, vlm, [])


def test_methods_have_the_functions_of_the_interface():
    for option in METHODS:
        module = importlib.import_module(f"calib.methods.{option}")
        assert list(inspect.signature(module.method).parameters) == ["fitting", "config"]
        assert module.method.__doc__
        if hasattr(module, "check"):
            assert list(inspect.signature(module.check).parameters) == ["config", "vlm", "examples"]
