"""Every way to get a configuration wrong is answered with the value and the remedy."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from calib import config
from calib.command import CONF
from calib.config_errors import explain


def message(*overrides: str, name: str = "sweep") -> str:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        try:
            OmegaConf.to_object(compose(name, list(overrides)))
        except Exception as error:
            return explain(error, config.ENTRY_POINTS[name], overrides)
    pytest.fail(f"{overrides} was accepted")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method=stear", ["no method 'stear'", "Did you mean 'steer'", "none, steer"]),
        ("model=gpt", ["no model 'gpt'", "internvl"]),
        ("data=xstest", ["no data 'xstest'", "mini, vscbench"]),
        ("judge=human", ["no judge 'human'", "auto, rules, string"]),
        ("modle=internvl", ["'modle'", "Did you mean 'model'"]),
        ("method.strenghts=[1]", ["'method.strenghts'", "Did you mean 'method.strengths'"]),
        ("strengths=[1]", ["'strengths'", "Did you mean 'method.strengths'"]),
        ("generation.max_tokens=3", ["Did you mean 'generation.max_new_tokens'"]),
        ("data.rooot=/x", ["Did you mean 'data.root'"]),
        ("method.zzz=3", ["'method.zzz'", "method.strengths", "method.positions"]),
        ("experiment=mine", ["'experiment'", "There are: model, method"]),
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


def test_a_setting_of_another_option_of_the_group():
    text = message("method=none", "method.strengths=[1]")
    assert text == "method=none has no setting 'method.strengths'; method=steer has it."


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
