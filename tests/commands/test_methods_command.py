"""Every method of conf/method: its file says what it does, its header how it is run; it runs."""

import csv
import importlib
import inspect
import json
import re
import shlex

import pytest
import torch
from composing import composed

from calib import methods, sweep
from calib.config.method import Activation
from calib.config.prompts import Calibration
from calib.config.schemas import CONF
from calib.config.sweep import SweepConfig
from calib.directions.direction import Direction, write_direction
from calib.util.errors import CalibError

OPTIONS = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
METHODS = [option for option in OPTIONS if option != "none"]
TINY = (
    "data.limit=20", "data.parts=[image_centric]", "utility.limit=6",
    "generation.max_new_tokens=12", "method@reference=none",
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("undrawn")
STRENGTHS = {"reminder": [1], "caution": [1], "cot": [1], "ecso": [1], "few_shot": [1, 2]}
"""Of prompt methods; all others are run at these two."""
TWO = [0.5, 1]


def header(option):
    """The comment that a method's YAML begins with."""
    lines = (CONF / "method" / f"{option}.yaml").read_text().splitlines()
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
    """A tiny run in this process; its results on both splits and its operating points."""
    sweep.main(composed("sweep", *TINY, *overrides, f"out={out}"))
    with (out / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    return results, json.loads((out / "operating_points.json").read_text())


def grid(results, split, method):
    """The layers and strengths of a method that were asked."""
    asked = {(r["layer"], float(r["strength"])) for r in results
             if (r["method"], r["split"]) == (method, split)}  # fmt: skip
    return sorted(asked)


def said_in(capsys):
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("option", OPTIONS)
def test_a_header_says_what_it_is_and_gives_commands_that_compose(option):
    found = commands(option)
    assert found, "no command in the header"
    assert all(f"method={option}" in arguments for arguments in found)
    for arguments in found:
        config = composed("sweep", *arguments)
        assert isinstance(config, SweepConfig)
        assert config.method.name == option
    text = " ".join(header(option))
    if option != "none":
        kind = type(config.method)
        where = f"{kind.__name__} in {kind.__module__.replace('.', '/')}.py"
        assert f"Every setting, its default and its meaning: {where}." in text
        assert isinstance(config.method, Calibration) or option == "combine"


@pytest.mark.parametrize("option", METHODS)
def test_a_file_says_its_formula_its_source_and_what_strength_is(option):
    doc = importlib.import_module(f"calib.methods.{option}").__doc__
    assert re.search(r"^    \S.*(<-|=|->)", doc, re.MULTILINE), "neither formula nor steps"
    assert re.search(r"arXiv \d{4}\.\d{5}", doc) or option == "combine", "no paper"
    assert re.search(r"\b[Ss]trength", doc), "strength is not explained"
    assert f"calib/methods/{option}.py" not in doc


def test_every_file_has_a_yaml():
    files = {path.stem for path in (CONF.parent / "calib" / "methods").glob("[!_]*.py")}
    assert files == set(METHODS)


@pytest.mark.parametrize("option", OPTIONS)
def test_it_runs_and_leaves_its_rows(tmp_path, option, capsys):
    config = composed("sweep", f"method={option}").method
    strengths = [] if option == "none" else STRENGTHS.get(option, TWO)
    at = "method.activation." if option == "combine" else "method."
    overrides = [f"{at}strengths={strengths}"] if strengths else []
    activation = isinstance(config, Activation) or option == "combine"
    if activation:
        overrides.append(f"{at}layers=[3]")
    results, points = run(tmp_path / "run", f"method={option}", *overrides)

    together = getattr(config, "together", False) or option == "iar_head"
    layer = "3" if activation and not together else ""
    for split in ("validation", "test"):
        assert grid(results, split, "none") == [("", 0.0)]
        if option != "none":
            assert grid(results, split, option) == [(layer, float(s)) for s in strengths]
    assert {r["method"] for r in results} == {"none", option}
    (point,) = points
    assert point["method"] == option
    assert point["strength"] in [0, *strengths]
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").open()]
    assert all(r["response"].strip() for r in rows if not r.get("purpose"))
    out = said_in(capsys)
    assert "uncalibrated" in out
    assert str(tmp_path / "run" / "results.csv") in out


def test_strengths_within_a_budget_of_kl(tmp_path, capsys):
    """Of both signs, and the run's own results agree with the cost they were chosen by."""
    arguments = ("method=steer", "method.layers=[3]", "method.kl=0.1")
    results, _ = run(tmp_path / "run", *arguments)
    (down, up) = grid(results, "validation", "steer")
    assert down[0] == up[0] == "3"
    assert down[1] < 0 < up[1]
    (priced,) = json.loads((tmp_path / "run" / "strengths.json").read_text()).values()
    assert sorted(one["strength"] for one in priced) == [down[1], up[1]]
    measured = {
        float(r["strength"]): float(r["value"])
        for r in results
        if (r["method"], r["split"], r["metric"]) == ("steer", "validation", "KL")
        and (r["dataset"], r["variant"], r["category"]) == ("utility", "all", "all")
    }
    for one in priced:
        assert one["kl"] <= 0.1
        assert measured[one["strength"]] == pytest.approx(one["kl"], rel=1e-3, abs=1e-6)
    assert "steer: strengths within KL 0.1 on utility questions: layer 3: +" in said_in(capsys)
    before = (tmp_path / "run" / "rows.jsonl").read_bytes()
    run(tmp_path / "run", *arguments)
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize(("kl", "expected"), [("10", [("", 2.0)]), ("1e-9", [])])
def test_a_prompt_within_a_budget_of_kl(tmp_path, capsys, kl, expected):
    """The largest number of demonstrations that costs no more; none where one costs too much."""
    arguments = ("method=few_shot", "method.strengths=[1,2]", f"method.kl={kl}")
    results, points = run(tmp_path / "run", *arguments)
    for split in ("validation", "test"):
        assert grid(results, split, "few_shot") == expected
    out = said_in(capsys)
    shown = "+2" if expected else "none"
    assert f"few_shot: strengths within KL {float(kl):g} on utility questions: {shown}" in out
    if not expected:
        assert points[0]["kept_uncalibrated"]


def test_auto_chooses_one_layer_by_its_effect(tmp_path, capsys):
    results, points = run(
        tmp_path / "run", "method=steer", "method.layers=auto", "method.strengths=[-1,1]"
    )
    ((layer, _), _) = grid(results, "validation", "steer")
    assert grid(results, "validation", "steer") == [(layer, -1.0), (layer, 1.0)]
    assert points[0]["layer"] == int(layer)
    out = said_in(capsys)
    by_layer = out.partition("By layer: ")[2]
    effects = {int(k): float(v) for k, v in re.findall(r"(\d): ([+-]\d+)", by_layer)}
    assert set(effects) == {0, 1, 2, 3, 4, 5}
    assert abs(effects[int(layer)]) == max(map(abs, effects.values()))
    assert f"steer: layer {layer} was chosen by its effect" in out


def test_a_combination_of_other_methods(tmp_path, capsys):
    results, _ = run(
        tmp_path / "run", "method=combine", "method@method.prompt=caution",
        "method@method.activation=conditional", "method.activation.strengths=[0.5,1]",
    )  # fmt: skip
    assert grid(results, "test", "combine") == [("", 0.5), ("", 1.0)]
    assert {r["method"] for r in results} == {"none", "combine"}
    assert "conditional: the cosine gate opens" in said_in(capsys)
    # Both are at work: the prompt in every calibrated row, the edits where the gate is open.
    rows = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").open()]
    caution = composed("sweep", "method=caution").method.texts["mini-internvl"]["text"]
    shown = {(bool(row["strength"]), row["system"], bool(row["edits"])) for row in rows}
    assert shown == {(False, None, False), (True, caution, True), (True, caution, False)}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("method.kl=0.1 utility=none", "method.kl=0.1 goes by a cost.*utility=none has none"),
        ("method.layers=auto utility=none", "method.layers=auto goes by a cost.*utility=none"),
        ("method=combine method.activation.kl=1 utility=none", "method.kl=1 goes by a cost"),
        ("method.contrast=safe", "method.contrast: 'safe' is not one of.* Did you mean 'safety'"),
        (
            "method.layers=auto method.all_layers_at_once=true",
            "auto chooses one layer, but method.all_layers_at_once",
        ),
        (
            "method=vti method.layers=auto",
            "auto chooses one layer, but method.all_layers_at_once edits",
        ),
        ("method=shiftdc method.captions=/no/such.csv", "method.captions=/no/such.csv cannot be"),
        ("method=shiftdc method.captions={captions}", "lacks .* of .* captions .first: "),
        ("method.direction={narrow}", "has width 64; mini-internvl has width 128"),
        ("method.direction=/no/such", "no direction file at '/no/such'"),
        ("method=few_shot method.strengths=[1.5]", "1.5 is no number of demonstrations. Give 0, 1"),
        ("method=few_shot method.strengths=[-1]", "-1 is no number of demonstrations"),
        ("method=reminder method.strengths=[2]", r"2 means nothing.*shown \(1\) or not \(0\)"),
        ("method=combine method.prompt.strengths=[2]", "2 means nothing for method=reminder"),
        ("method=combine method@method.prompt=steer", "method=combine takes a prompt-based and an"),
        ("method=combine method.prompt.kl=1", "method.prompt.kl chooses nothing here"),
        ("method=surgical method.layers=[1,6]", "layer 6 does not exist: mini-internvl has layers"),
        (
            "method=none +method@methods.a=steer +method@methods.b=steer",
            "two methods have one name",
        ),
        ("experiment=vscbench_four methods.few_shot.strengths=[0.5]", "0.5 is no number of demon"),
        ("method.name=stear", "method=stear has no file in calib/methods. Did you mean 'steer'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(tmp_path, vlm, overrides, words):
    narrow, captions = tmp_path / "narrow.safetensors", tmp_path / "captions.jsonl"
    ones = (torch.ones(1) for _ in range(3))
    origin = (vlm.checkpoint, None, vlm.fingerprint)
    write_direction(narrow, Direction(torch.eye(1, 64), *ones, [3], *origin))
    captions.write_text('{"id": "another", "caption": "a knife"}\n')
    overrides = overrides.format(narrow=narrow, captions=captions).split()
    with pytest.raises(CalibError, match=f"(?s){words}") as refused:
        sweep.main(composed("sweep", *TINY, *overrides, f"out={tmp_path / 'run'}"))
    assert not (tmp_path / "run").exists()
    assert len(str(refused.value)) < 600


def test_a_method_by_another_name(tmp_path):
    """Two settings of one method in one run."""
    results, points = run(
        tmp_path / "run", "method=none", "+method@methods.one=steer", "+method@methods.two=steer",
        "methods.two.name=upwards", "methods.two.file=steer", "methods.one.strengths=[-1]",
        "methods.two.strengths=[1]", "methods.one.layers=2", "methods.two.layers=3",
    )  # fmt: skip
    assert grid(results, "test", "steer") == [("2", -1.0)]
    assert grid(results, "test", "upwards") == [("3", 1.0)]
    assert [point["method"] for point in points] == ["steer", "upwards"]


def test_the_registry_refuses_what_has_no_file(vlm):
    config = composed("sweep").method
    config.name = "none"
    with pytest.raises(CalibError, match="method=none has no file in calib/methods"):
        methods.check(config, vlm, [])


def test_methods_have_the_functions_that_are_asked_of_them():
    for option in METHODS:
        file = importlib.import_module(f"calib.methods.{option}")
        assert list(inspect.signature(file.method).parameters) == ["fitting", "config"]
        assert file.method.__doc__
        if hasattr(file, "check"):
            assert list(inspect.signature(file.check).parameters) == ["config", "vlm", "examples"]
