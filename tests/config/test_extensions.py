"""Methods, judges and data sets of another package: the modules of docs/extensions.md."""

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from composing import composed
from hydra.core.config_store import ConfigStore
from in_process import command
from raising import raises

import calib
from calib import methods
from calib.api.model import Model
from calib.config import extensions as module
from calib.config.extensions import KINDS, extensions
from calib.config.judge import JudgeConfig
from calib.config.schemas import register, register_extensions
from calib.config.typed import typed_config
from calib.data.benchmarks import load_benchmark
from calib.interventions.fitting import Fitting
from calib.judges.judge import JudgeInput
from calib.judges.registry import choose_judge, judge_names

PAGE = (Path(__file__).resolve().parents[2] / "docs/extensions.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"`my_package/(\w+)\.py`.*?```python\n(.*?)```", PAGE, re.DOTALL))
POINTS = re.findall(r'entry-points\."(calib\.\w+)"\]\n(\w+) = "([\w.]+)"', PAGE)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package with these modules and entry points (group, name, value)."""

    def install(modules, points):
        folder = tmp_path / "my_package"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
            monkeypatch.delitem(sys.modules, f"my_package.{name}", raising=False)
        monkeypatch.delitem(sys.modules, "my_package", raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        declared = [EntryPoint(name, value, group) for group, name, value in points]
        monkeypatch.setattr(
            module, "entry_points", lambda group: [p for p in declared if p.group == group]
        )
        extensions.cache_clear()

    yield install
    monkeypatch.undo()
    extensions.cache_clear()
    for name in ("my_package", *(f"my_package.{each}" for each in MODULES)):
        sys.modules.pop(name, None)
    for group in KINDS:
        for name in MODULES:
            ConfigStore.instance().repo.get(group, {}).pop(f"{name}.yaml", None)


def test_the_modules_of_the_page_work_by_their_names(installed, vlm, tmp_path):
    assert len(MODULES) == len(POINTS) == 3
    register()
    installed(MODULES, POINTS)
    register_extensions()
    assert "polite" in methods.names() and "apology" in judge_names()
    config = composed("sweep", "method=polite", "method.text=Kindly", "data=kitchen",
                      "judge=apology")  # fmt: skip
    assert (config.method.text, type(config.method).__name__) == ("Kindly", "Polite")
    settings = vars(config.method)
    assert typed_config([type(config.method)], settings) == config.method
    pairs = calib.load_pairs("kitchen", limit=4)
    assert pairs and "sharpen" in pairs[0].safe.query
    model = Model(vlm)
    query = pairs[0].safe.query
    asked = model.calibrated("polite", text="Kindly").generate(query)
    assert asked == model.generate(f"Kindly {query}")
    judge = choose_judge(JudgeConfig("apology"), "kitchen", None)
    assert judge.id == "apology"
    run = model.sweep("polite", "kitchen", utility="none", judge="apology", out=tmp_path / "run",
                      settings={"method.strengths": [1]})  # fmt: skip
    assert calib.Run.load(run.folder).method_config("polite").text == "Please answer politely."
    assert run.results.where(method="polite", metric="SRA_u")


BAD = {
    "an import that fails": ("raise OSError('no disk')", "polite", "unreadable", "no disk"),
    "an import that exits": ("raise SystemExit(3)", "polite", "unreadable", "SystemExit"),
    "no function": ("x = 1", "polite", "invalid-content", "'method("),
    "no annotation": ("def method(fitting, config): ...", "polite", "invalid-content", "config"),
    "another annotation": (
        "def method(fitting, config: int): ...", "polite", "invalid-content", "Activation"),
    "settings without a default": (
        MODULES["polite"].replace("@dataclass", "@dataclass(kw_only=True)")
        .replace('str = "polite"', 'str = "polite"\n    tone: str'),
        "polite", "invalid-content", "Polite(name='polite')"),
    "a name of calib's": (MODULES["polite"], "steer", "duplicate", "steer"),
    "a name with other characters": (MODULES["polite"], "so-polite", "invalid-value", "so-polite"),
}  # fmt: skip


@pytest.mark.parametrize("text, name, code, value", BAD.values(), ids=BAD)
def test_extensions_that_cannot_be_used(installed, text, name, code, value):
    installed({"polite": text}, [("calib.methods", name, "my_package.polite")])
    with raises(code, name, "my_package.polite", value):
        register_extensions()


CALLED = {
    "no method": ("polite", "return Method(", "return str or Method(", "method returned"),
    "an error of a method": (
        "polite", "    flow =", "    {}[1]\n    flow =", "KeyError", "polite.py"),
    "a layer that is none": ("polite", "[None]", "[99]", "layer 99"),
    "a name of another": ("polite", "Method(config.name", "Method('rude'", "'rude'", "config.name"),
    "an axis in words": ("polite", "axis, [None]", "'requests', [None]", "axis", "'requests'"),
    "no intervention": (
        "polite", "strength: flow", "strength: None", "intervention(None, 1)", None),
    "an error of an intervention": ("polite", "strength: flow", "strength: 1 / 0", "ZeroDivision"),
    "a flow that is none": ("polite", "SinglePrompt(asked)", "asked", "prompt_flow", "function"),
    "a prompt that is none": (
        "polite", "return replace(", "return str(", "prompt_flow", "TypeError"),
    "a wrong constructor": ("polite", "Intervention(prompt", "Intervention(prompts", "TypeError"),
    "no judge": ("apology", 'return RuleBased("apology", judge)', "return None", "build", None),
    "a judge's class": ("apology", 'RuleBased("apology", judge)', "RuleBased", "build", "type"),
    "a judge without an id": ("apology", '"apology"', '""', "id", "''"),
    "an unknown label": ("apology", '"refusal"', '"refuse"', "label_of", "'refuse'", "'refusal'"),
    "an error of a judge": ("apology", "casefold", "lowercase", "AttributeError", "apology.py"),
    "one verdict": (
        "apology", 'return RuleBased("apology", judge)',
        "call = lambda self, inputs, report=None: [None]\n"
        "    return type('J', (), {'id': 'j', 'costly': False, '__call__': call})()",
        "the judge returned", "1, not a list of 2"),
    "no data": ("kitchen", "return Benchmark(", "return list(", "load", "list"),
    "a number as id": (
        "kitchen", 'id=f"{knife}/{safety}"', "id=3", "example 0", "id is 3, not str"),
    "repeated ids": ("kitchen", "id=f\"{knife}/{safety}\"", "id='a'", "'a'"),
    "a split that is none": ("kitchen", "split_of(knife,", "str(knife,", "TypeError"),
    "another dataset": ("kitchen", '"text_centric"', '"kitchen"', "'kitchen'", "image_centric"),
    "no safety": ("kitchen", "safety=safety,", "", "safety"),
    "a field that is missing": ("kitchen", 'category="knives",', "", "TypeError", "category"),
}  # fmt: skip
EXAMPLE = calib.Example("a", "text_centric", "none", "none", "test", "Hello")


@pytest.mark.parametrize("name, old, new, values", [
    (name, old, new, values) for name, old, new, *values in CALLED.values()
], ids=CALLED)  # fmt: skip
def test_what_an_extension_returns_is_checked_where_it_is_called(
    installed, vlm, name, old, new, values
):
    assert old in MODULES[name]
    points = [point for point in POINTS if point[1] == name]
    installed({name: MODULES[name].replace(old, new)}, points)
    group = {"polite": "method", "apology": "judge", "kitchen": "data"}[name]
    schema = extensions(group)[name].schema
    with pytest.raises(calib.CalibError) as error:
        config = schema(name=name)
        if name == "polite":
            method = methods.build(Fitting(vlm, [], [], None, Path()), config)
            method.setting(None, 1.0).intervention.prompt_flow.next(EXAMPLE, [])
        elif name == "apology":
            choose_judge(config, "kitchen", None)([JudgeInput(EXAMPLE, "Sorry.")] * 2)
        else:
            load_benchmark(config)
    assert error.value.code == ("duplicate" if "'a'" in values else "invalid-content")
    for value in (f"my_package.{name}", *values):
        assert str(value) in str(error.value)


def test_an_error_of_an_extensions_settings_names_the_extension(installed):
    check = """    def __post_init__(self):
        if self.text == "rude":
            raise ValueError("too rude")


def method("""
    installed({"polite": MODULES["polite"].replace("\n\ndef method(", check)}, POINTS[:1])
    schema = extensions("method")["polite"].schema
    with raises("invalid-content", "my_package.polite", "polite.py", "too rude"):
        typed_config([schema], {"text": "rude"})


def test_two_packages_with_one_name_and_values_that_are_no_module(installed):
    point = ("calib.methods", "polite", "my_package.polite")
    installed({"polite": MODULES["polite"]}, [point, point])
    with raises("duplicate", "polite", "another package"):
        extensions("method")
    installed({"polite": MODULES["polite"]}, [(*point[:2], "my_package.polite:method")])
    with raises("invalid-content", "my_package.polite:method"):
        extensions("method")


def test_a_command_reports_an_extension_that_cannot_be_used(installed, monkeypatch):
    installed({"polite": "x = 1"}, [("calib.methods", "polite", "my_package.polite")])
    monkeypatch.setattr("calib.cli.command.register", register_extensions)
    done = command("plan", "runs=[nowhere]")
    assert done.code == 2 and "[invalid-content]" in done.stderr and "polite" in done.stderr
