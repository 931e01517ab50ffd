"""Every way to get a configuration wrong is answered with the value and the remedy."""

import re

import pytest
from composing import composed
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from calib.cli.config_errors import explain, unknown_setting
from calib.config.prompts import NoneMethod
from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS, register
from calib.config.sweep import SweepConfig


def message(*overrides: str, name: str = "sweep") -> str:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        try:
            OmegaConf.to_object(compose(name, list(overrides)))
        except Exception as error:
            return explain(error, ENTRY_POINTS[name], overrides)
    pytest.fail(f"{overrides} was accepted")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method=stear", ["no method 'stear'", "Did you mean 'steer'", "none, nullspace"]),
        ("model=internv", ["no model 'internv'", "internvl"]),
        ("data=xstests", ["no data 'xstests'", "Did you mean 'xstest'", "mossbench, or_bench"]),
        ("judge=human", ["no judge 'human'", "auto, classifier", "rules, string"]),
        ("modle=internvl", ["'modle'", "Did you mean 'model'"]),
        ("method.strenghts=[1]", ["'method.strenghts'", "Did you mean 'method.strengths'"]),
        ("strengths=[1]", ["'strengths'", "Did you mean 'method.strengths'"]),
        ("generation.max_tokens=3", ["Did you mean 'generation.max_new_tokens'"]),
        ("data.rooot=/x", ["Did you mean 'data.root'"]),
        ("method.zzz=3", ["'method.zzz'", "method.strengths", "method.positions"]),
        ("experiment=mine", ["no experiment 'mine'", "all_methods, vscbench_four"]),
        ("zzz=3", ["'zzz'", "There are: model, method"]),
        ("methods=[steer]", ["'[steer]'", "methods takes its entries one by one: methods.NAME"]),
        ("generation.max_new_tokens=abc", ["'abc'", "generation.max_new_tokens", "whole number"]),
        ("seed=1.5", ["'1.5'", "whole number"]),
        ("data.limit=many", ["'many'", "whole number or null"]),
        ("model.tiles=maybe", ["'maybe'", "true or false"]),
        ("method.strengths=3", ["'3'", "method.strengths=[1,2]"]),
        ("method.strengths=[1,a]", ["'[1,a]'", "list of numbers"]),
        ("data.parts=image_centric", ["'image_centric'", "data.parts=[a,b]"]),
        ("generation=3", ["one by one", "generation.max_new_tokens"]),
        ("method.strengths=[1", ["method.strengths=[1", "Quote"]),
        ("out=a=b", ["out=a=b", "Quote", "'out=\"my runs/a=b\"'"]),
        ("seed", ["'seed'", "key=value"]),
        ("~method", ["which method", "add method=NAME"]),
        ("out=${nowhere}", ["out", "nowhere"]),
    ],
)
def test_messages(override, words):
    text = message(override)
    missing = [word for word in words if word not in text]
    assert not missing, text


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            "method=none method.gate=probe",
            "method=none has no setting 'method.gate'; method=conditional, "
            "method=refusal_control, method=steer and method=steer_pca have it.",
        ),
        (
            "method=reminder method.layers=3",
            "method=reminder has no setting 'method.layers'; method=ablate, method=adaptive, "
            "method=astra, method=cmrm and 12 more have it.",
        ),
        ("method.rank=3", "method=steer has no setting 'method.rank'; method=vlm_guard has it."),
        (
            "data.figstep_query=what",
            "data=mini has no setting 'data.figstep_query'; data=vscbench has it.",
        ),
        (
            "data.root=/x",
            "data=mini has no setting 'data.root'; data=dualbench, data=figstep, "
            "data=jailbreakbench, data=mm_safetybench and 7 more have it.",
        ),
        (
            "method=combine method.layers=3",
            "method=combine has no setting 'method.layers'; method.activation has it.",
        ),
        (
            "method=combine method.strengths=[1]",
            "method=combine has no setting 'method.strengths'; method.prompt and "
            "method.activation have it.",
        ),
        (
            "method=combine method@method.prompt=caution method.prompt.check=no",
            "method.prompt has no setting 'method.prompt.check'; method@method.prompt=cot and "
            "method@method.prompt=ecso have it.",
        ),
        (
            "method.prompt.text=no",
            "method=steer has no setting 'method.prompt'; method=combine has it.",
        ),
        (
            "experiment=vscbench_four method.heads=2",
            "method=none has no setting 'method.heads'; methods.iar_layer and methods.iar_head "
            "have it.",
        ),
        (
            "experiment=vscbench_four methods.reminder.seed=2",
            "methods.reminder has no setting 'methods.reminder.seed'; methods.few_shot has it.",
        ),
        (
            "experiment=vscbench_four +method@methods.ecso=ecso methods.reminder.caption=x",
            "methods.reminder has no setting 'methods.reminder.caption'; methods.ecso has it.",
        ),
        (
            "experiment=vscbench_four methods.fewshot.seed=3",
            "There is no 'methods.fewshot'. Did you mean 'few_shot'? methods has reminder, "
            "few_shot, iar_layer, iar_head; +method@methods.fewshot=NAME adds one.",
        ),
        (
            "methods.steer.layers=3",
            "There is no 'methods.steer': methods is empty. An experiment fills it, "
            "experiment=all_methods or experiment=vscbench_four; +method@methods.steer=steer adds "
            "one. The settings of a single method are method.SETTING.",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_is_elsewhere(overrides, expected):
    assert message(*overrides.split()) == expected


@pytest.mark.parametrize(
    ("overrides", "meant"),
    [
        ("method=reminder method.plac=after", "method.place"),
        ("method=combine method.prompt.texx=hello", "method.prompt.text"),
        ("method=combine method@method.activation=conditional method.activation.gat=none",
         "method.activation.gate"),
        ("experiment=vscbench_four methods.iar_head.headz=3", "methods.iar_head.heads"),
        ("experiment=all_methods methods.combine.activation.layer=3",
         "methods.combine.activation.layers"),
        ("method=shiftdc method.texts.any.qestion=x", "method.question"),
    ],
)  # fmt: skip
def test_a_nested_setting_that_is_misspelt(overrides, meant):
    text = message(*overrides.split())
    assert text.endswith(f"Did you mean '{meant}'?")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("experiment=vscbench_four methods.reminder.zzz=1",
         "There are: methods.reminder.name, methods.reminder.file, methods.reminder.strengths"),
        ("experiment=vscbench_four methods.few_shot.strengths=2",
         "methods.few_shot.strengths takes a list of numbers: methods.few_shot.strengths=[1,2]"),
        ("method=combine method.prompt.layers=3",  # no method that may stand there has it
         "There are: method.prompt.name, method.prompt.file, method.prompt.strengths"),
        ("method=combine method.activation.kl=much", "method.activation.kl takes a number or null"),
        ("method=combine method.prompt=caution", "method@method.prompt=NAME"),
        ("method=shiftdc method.texts=any", "method.texts takes its entries one by one"),
    ],
)  # fmt: skip
def test_what_nested_settings_take(overrides, words):
    assert words in message(*overrides.split())


def test_no_message_names_a_schema_that_is_no_method():
    """Schemas have names of their own, which no user can choose."""
    chosen = {path.stem for path in (CONF / "method").glob("*.yaml")}
    schemas = {name for name in GROUPS["method"] if name not in chosen}
    assert schemas
    for method in sorted(chosen):
        owner = type(composed("sweep", f"method={method}").method)
        for key in ("layers", "contrast", "text", "zzz"):
            given = (f"method={method}", f"+method.{key}=1")
            text = unknown_setting(f"method.{key}", SweepConfig, owner, given)
            assert not [name for name in schemas if re.search(rf"method={name}\b", text)], text


def test_options_of_the_users_own_are_called_by_their_name(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        "defaults:\n  - /hydra/schema/method@_here_: prompting\n  - _self_\nname: reminder\n"
    )
    text = message(f"hydra.searchpath=[{tmp_path}]", "method=mine", "method.rank=1")
    assert text == "method=mine has no setting 'method.rank'; method=vlm_guard has it."


def test_of_several_under_multirun_the_one_at_fault_is_named():
    text = unknown_setting(
        "method.rank", SweepConfig, NoneMethod, ("method=vlm_guard,none", "method.rank=1")
    )
    assert text.startswith("method=none has no setting 'method.rank'")


def test_a_mandatory_setting():
    text = message(name="plot")
    assert "'runs' must be given" in text
    assert "runs=[a,b]" in text


def test_a_mistake_in_a_file_of_the_users_own_names_the_file(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        "defaults:\n  - /hydra/schema/method@_here_: steer\n  - _self_\nstrenght: [1]\n"
    )
    text = message(f"hydra.searchpath=[{tmp_path}]", "method=mine")
    assert "In 'method/mine'" in text
    assert "Did you mean 'method.strengths'" in text


def test_the_right_override_is_named_among_several():
    text = message("method.strengths=[1,2]", "seed=x", "data.limit=3")
    assert text.startswith("seed=x: 'x'")
