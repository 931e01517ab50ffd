"""Every error in a configuration is explained with the value, and with what was probably meant."""

import re

import pytest
from composing import composed
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from calib.cli.config_errors import explain, unknown_setting
from calib.config.prompts import NoneMethod
from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS, register
from calib.config.sweep import SweepConfig
from calib.util.errors import CalibError


def explained(*overrides: str, name: str = "sweep") -> CalibError:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        try:
            OmegaConf.to_object(compose(name, list(overrides)))
        except Exception as error:
            return explain(error, ENTRY_POINTS[name], overrides)
    pytest.fail(f"{overrides} was accepted")


@pytest.mark.parametrize(
    ("override", "code", "values"),
    [
        ("method=stear", "unknown-name", ["'stear'", "'steer'", "none, nullspace"]),
        ("model=internv", "unknown-name", ["'internv'", "internvl"]),
        ("data=xstests", "unknown-name", ["'xstests'", "'xstest'", "mossbench, or_bench"]),
        ("judge=human", "unknown-name", ["'human'", "auto, classifier", "rules"]),
        ("experiment=mine", "unknown-name", ["'mine'", "all_methods, vscbench_four"]),
        ("modle=internvl", "unknown-setting", ["'modle'", "'model'"]),
        ("method.strenghts=[1]", "unknown-setting", ["'method.strenghts'", "'method.strengths'"]),
        ("strengths=[1]", "unknown-setting", ["'strengths'", "'method.strengths'"]),
        ("generation.max_tokens=3", "unknown-setting", ["'generation.max_new_tokens'"]),
        ("data.rooot=/x", "unknown-setting", ["'data.rooot'", "'data.root'"]),
        ("method.closed=x", "unknown-setting", ["'method.closed'", "'method.otherwise'"]),
        ("method.zzz=3", "unknown-setting", ["'method.zzz'", "method.strengths", "method.layers"]),
        ("zzz=3", "unknown-setting", ["'zzz'", "model, method"]),
        ("methods=[steer]", "invalid-setting", ["'[steer]'", "methods.NAME"]),
        (
            "generation.max_new_tokens=abc",
            "invalid-setting",
            ["generation.max_new_tokens", "'abc'"],
        ),
        ("seed=1.5", "invalid-setting", ["seed", "'1.5'", "whole number"]),
        ("data.limit=many", "invalid-setting", ["data.limit", "'many'", "null"]),
        ("model.tiles=maybe", "invalid-setting", ["model.tiles", "'maybe'", "true", "false"]),
        ("method.strengths=3", "invalid-setting", ["'3'", "method.strengths=[1,2]"]),
        ("method.strengths=[1,a]", "invalid-setting", ["'[1,a]'", "method.strengths=[1,2]"]),
        ("data.parts=image_centric", "invalid-setting", ["'image_centric'", "data.parts=[a,b]"]),
        ("generation=3", "invalid-setting", ["'3'", "generation.max_new_tokens"]),
        ("method.strengths=[1", "invalid-setting", ["method.strengths=[1"]),
        ("out=a=b", "invalid-setting", ["out=a=b", "'out=\"my runs/a=b\"'"]),
        ("seed", "invalid-setting", ["'seed'", "key=value"]),
        ("out=${nowhere}", "invalid-setting", ["out", "nowhere"]),
        ("~method", "missing-setting", ["method=NAME"]),
    ],
)
def test_the_code_and_the_values_of_an_error(override, code, values):
    error = explained(override)
    assert error.code == code, error
    missing = [value for value in values if value not in error.message]
    assert not missing, error


@pytest.mark.parametrize(
    ("name", "argument", "meant"),
    [
        ("report", "runs/one", "runs=runs/one"),
        ("plot", "runs/one", "runs=runs/one"),
        ("judge", "runs/one", "run=runs/one"),
        ("judge", __file__, f"check={__file__}"),
        ("serve", "runs/one", "run=runs/one"),
        ("export", "runs/one", "run=runs/one"),
        ("export", __file__, f"direction={__file__}"),
        ("import", "vector.gguf", "file=vector.gguf"),
        ("convert", "org/model", "source=org/model"),
        ("report", "runs/a (b)", "'runs=\"runs/a (b)\"'"),
    ],
)
def test_a_path_without_its_setting_is_shown_with_it(name, argument, meant):
    error = explained(argument, name=name)
    assert error.code == "invalid-setting" and f" {meant}?" in error.message, error


@pytest.mark.parametrize(
    ("overrides", "mentioned"),
    [
        (
            "method=none method.gate=probe",
            "method=none method.gate method=conditional method=refusal_control method=steer "
            "method=steer_pca",
        ),
        (
            "method=reminder method.layers=3",
            "method=reminder method.layers method=ablate method=adaptive method=astra",
        ),
        ("method.rank=3", "method=steer method.rank method=vlm_guard"),
        ("data.figstep_query=what", "data=mini data.figstep_query data=vscbench"),
        (
            "data.root=/x",
            "data=mini data.root data=dualbench data=figstep data=jailbreakbench "
            "data=mm_safetybench",
        ),
        ("method=combine method.layers=3", "method=combine method.layers method.activation"),
        (
            "method=combine method.strengths=[1]",
            "method=combine method.strengths method.prompt method.activation",
        ),
        (
            "method=combine method@method.prompt=caution method.prompt.check=no",
            "method.prompt method.prompt.check method@method.prompt=cot method@method.prompt=ecso",
        ),
        ("method.prompt.text=no", "method=steer method.prompt method=combine"),
        (
            "experiment=vscbench_four method.heads=2",
            "method=none method.heads methods.iar_layer methods.iar_head",
        ),
        (
            "experiment=vscbench_four methods.reminder.seed=2",
            "methods.reminder methods.reminder.seed methods.few_shot",
        ),
        (
            "experiment=vscbench_four +method@methods.ecso=ecso methods.reminder.caption=x",
            "methods.reminder methods.reminder.caption methods.ecso",
        ),
        (
            "experiment=vscbench_four methods.fewshot.seed=3",
            "methods.fewshot few_shot reminder iar_layer iar_head +method@methods.fewshot=NAME",
        ),
        (
            "methods.steer.layers=3",
            "methods.steer experiment=all_methods experiment=vscbench_four "
            "+method@methods.steer=steer method.SETTING",
        ),
    ],
)
def test_a_setting_of_another_option_names_that_option(overrides, mentioned):
    error = explained(*overrides.split())
    assert error.code == "unknown-setting"
    missing = [name for name in mentioned.split() if name not in error.message]
    assert not missing, error


@pytest.mark.parametrize(
    ("overrides", "others"),
    [
        ("method.rank=3", ["conditional", "ablate"]),
        ("experiment=vscbench_four methods.reminder.seed=2", ["iar_head", "method="]),
        ("method=combine method.layers=3", ["method=steer", "method.prompt"]),
    ],
)
def test_options_without_the_setting_are_not_suggested(overrides, others):
    message = explained(*overrides.split()).message
    assert not [name for name in others if name in message], message


@pytest.fixture(scope="module")
def methods():
    """The configuration of every method option, by name."""
    names = sorted(path.stem for path in (CONF / "method").glob("*.yaml"))
    return {name: composed("sweep", f"method={name}").method for name in names}


def test_a_long_list_of_options_is_shortened(methods):
    having = [name for name, config in methods.items() if hasattr(config, "layers")]
    message = explained("method=reminder", "method.layers=3").message
    assert f"{len(having) - 4} more" in message


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
def test_a_misspelt_nested_setting(overrides, meant):
    error = explained(*overrides.split())
    assert error.code == "unknown-setting"
    assert re.findall("'([^']+)'", error.message)[-1] == meant


@pytest.mark.parametrize(
    ("overrides", "code", "values"),
    [
        ("experiment=vscbench_four methods.reminder.zzz=1", "unknown-setting",
         ["methods.reminder.name, methods.reminder.file, methods.reminder.strengths"]),
        ("experiment=vscbench_four methods.few_shot.strengths=2", "invalid-setting",
         ["'2'", "methods.few_shot.strengths=[1,2]"]),
        ("method=combine method.prompt.layers=3", "unknown-setting",  # no prompt method has it
         ["method.prompt.name, method.prompt.file, method.prompt.strengths"]),
        ("method=combine method.activation.kl=much", "invalid-setting",
         ["'much'", "method.activation.kl", "null"]),
        ("method=combine method.prompt=caution", "invalid-setting", ["method@method.prompt=NAME"]),
        ("method=shiftdc method.texts=any", "invalid-setting", ["method.texts.NAME"]),
    ],
)  # fmt: skip
def test_errors_of_nested_settings(overrides, code, values):
    error = explained(*overrides.split())
    assert error.code == code, error
    assert not [value for value in values if value not in error.message], error


def test_no_message_names_a_schema_that_is_not_a_method(methods):
    """Schemas have names of their own, which a user cannot select."""
    schemas = {name for name in GROUPS["method"] if name not in methods}
    assert schemas
    for method, config in methods.items():
        owner = type(config)
        for key in ("layers", "contrast", "text", "zzz"):
            given = (f"method={method}", f"+method.{key}=1")
            text = unknown_setting(f"method.{key}", SweepConfig, owner, given).message
            assert not [name for name in schemas if re.search(rf"method={name}\b", text)], text


def test_an_option_of_the_user_is_called_by_its_name(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        "defaults:\n  - /hydra/schema/method@_here_: prompting\n  - _self_\nname: reminder\n",
        encoding="utf-8",
    )
    error = explained(f"hydra.searchpath=[{tmp_path}]", "method=mine", "method.rank=1")
    assert error.code == "unknown-setting"
    assert error.message.startswith("method=mine ") and "method=vlm_guard" in error.message


def test_of_several_options_in_a_multirun_the_one_without_the_setting_is_named():
    error = unknown_setting(
        "method.rank", SweepConfig, NoneMethod, ("method=vlm_guard,none", "method.rank=1")
    )
    assert error.message.startswith("method=none ")


def test_a_required_setting():
    error = explained(name="plot")
    assert error.code == "missing-setting"
    assert "'runs'" in error.message and "runs=[A,B]" in error.message


@pytest.mark.parametrize(
    ("line", "meant"), [("strenght: [1]", "method.strengths"), ("closed: x", "method.otherwise")]
)
def test_an_error_in_a_file_of_the_user_names_the_file(tmp_path, line, meant):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        f"defaults:\n  - /hydra/schema/method@_here_: steer\n  - _self_\n{line}\n", encoding="utf-8"
    )
    error = explained(f"hydra.searchpath=[{tmp_path}]", "method=mine")
    assert error.code == "unknown-setting"
    assert "'method/mine'" in error.message and f"'{meant}'" in error.message


def test_the_invalid_override_is_named_among_several():
    error = explained("method.strengths=[1,2]", "seed=x", "data.limit=3")
    assert error.message.startswith("seed=x: 'x'")
