"""Stored settings become dataclasses again, also under the former names of settings."""

import dataclasses
import json

import pytest
from composing import composed
from raising import raises

from calib.config.data import MiniData, PairsData
from calib.config.judge import JUDGES, ClassifierJudge, LabelRule
from calib.config.method import METHODS, Combine, Directed, Steer
from calib.config.model import ModelConfig
from calib.config.prompts import PromptFlowMethod, Worded
from calib.config.sweep import GenerationConfig
from calib.config.typed import (
    current_names,
    current_override,
    former_names,
    typed_config,
    without_added,
)


def stored(config):
    """A configuration as run.json and config.yaml have it."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


@pytest.mark.parametrize(
    ("classes", "config"),
    [
        ([ModelConfig], ModelConfig("m", dtype="bfloat16", tiles=True)),
        (list(METHODS.values()), Steer(layers=[3], gate="probe", otherwise="opposite")),
        (list(METHODS.values()), Directed("astra", contrast="refusal")),
        (
            list(METHODS.values()),
            Combine("combine", prompt=Worded("caution", text="x"), activation=Steer(kl=0.1)),
        ),
        (
            list(METHODS.values()),
            PromptFlowMethod("cot", texts={"any": {"check": ["a {query}", "b"]}}, place="after"),
        ),
        (list(JUDGES.values()), ClassifierJudge(checkpoint="m", labels=[LabelRule("a", "answer")])),
    ],
)
def test_stored_settings_become_the_same_dataclass(classes, config):
    assert typed_config(classes, stored(config)) == config
    assert typed_config(classes, stored(config), complete=True) == config


def test_settings_of_a_run_that_is_older_than_one_of_them():
    config = Directed("astra", contrast="refusal")
    older = {key: value for key, value in stored(config).items() if key != "first_layers"}
    assert typed_config(list(METHODS.values()), older) == config
    assert typed_config(list(METHODS.values()), older, complete=True) == config
    assert former_names({"method": stored(config)}) == former_names({"method": older})
    searched = stored(dataclasses.replace(config, all_layers_at_once=True, first_layers="all"))
    assert former_names({"method": searched})["method"]["first_layers"] == "all"


def test_prompt_flows_of_older_runs_keep_their_behaviour():
    settings = stored(PromptFlowMethod("ecso", texts={"any": {"check": "harm?"}}))
    older = {key: value for key, value in settings.items() if key not in ("place", "verdict")}
    config = typed_config(list(METHODS.values()), older)
    assert isinstance(config, PromptFlowMethod)
    assert (config.place, config.verdict) == ("turn", "first_word")


@pytest.mark.parametrize("text", ["${nowhere}", "\\${a}", "\\\\${b} \\ $ {}", "${a}${b}"])
def test_text_is_never_interpolated(text):
    config = Worded("reminder", text=text, texts={"any": {"text": text}})
    assert typed_config([Worded], stored(config)) == config
    combined = Combine("combine", prompt=config, activation=Steer())
    assert typed_config([Combine], stored(combined)) == combined


def test_missing_settings_have_their_defaults_unless_all_are_needed():
    assert typed_config([ModelConfig], {"name": "m"}) == ModelConfig("m")
    with raises("mismatch", "'m'"):
        typed_config([ModelConfig], {"name": "m"}, complete=True)
    with raises("mismatch", "'m'"):
        typed_config(list(METHODS.values()), {"name": "m", "climb": 1})


@pytest.mark.parametrize(
    ("settings", "code", "values"),
    [
        ({"dtipe": "float32"}, "unknown-setting", ["'m'", "'dtipe'", "'dtype'"]),
        ({"tiles": "maybe"}, "invalid-setting", ["'m'", "maybe"]),
        ({"dtype": "fp32"}, "invalid-setting", ["model.dtype", "'fp32'"]),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, code, values):
    with raises(code, *values):
        typed_config([ModelConfig], {"name": "m", **settings})


def test_a_value_is_converted_to_the_type_of_its_field():
    assert typed_config([GenerationConfig], {"temperature": 1}).temperature == 1.0


@pytest.mark.parametrize(
    ("given", "present"),
    [
        ("method.closed=opposite", "method.otherwise=opposite"),
        ("+method.together=true", "+method.all_layers_at_once=true"),
        ("methods.conditional.together=false", "methods.conditional.all_layers_at_once=false"),
        ("method.activation.closed=a=b", "method.activation.otherwise=a=b"),
        ("reference.closed=nothing", "reference.otherwise=nothing"),
        ("~method.closed", "~method.otherwise"),
        ("methods.closed=1", "methods.closed=1"),
        ("methods.closed.layers=3", "methods.closed.layers=3"),
        ("data.closed=1", "data.closed=1"),
        ("method.layers=3", "method.layers=3"),
        ("method=closed", "method=closed"),
        ("--help", "--help"),
    ],
)
def test_former_overrides_are_renamed(given, present):
    assert current_override(given) == present


def test_settings_of_former_runs_get_the_present_names():
    sweep = stored(composed("sweep", "experiment=all_methods"))
    former = former_names(sweep)
    assert former["methods"]["conditional"]["together"] is True
    assert former["methods"]["refusal_control"]["closed"] == "opposite"
    assert former["methods"]["combine"]["activation"]["closed"] == "nothing"
    assert "all_layers_at_once" not in json.dumps(former)
    assert current_names(former) == without_added(sweep)
    method = former["methods"]["conditional"]
    assert typed_config([Steer], method) == typed_config([Steer], sweep["methods"]["conditional"])


def test_the_gate_of_former_refusal_control_opens_at_high_scores():
    present = stored(composed("sweep", "method=refusal_control"))["method"]
    former = {key: value for key, value in present.items() if key != "gate_side"}
    assert typed_config([Steer], former, complete=True).gate_side == "above"
    copy = former | {"name": "mine", "file": "refusal_control"}
    assert typed_config([Steer], copy, complete=True).gate_side == "above"
    assert typed_config([Steer], former | {"name": "steer"}, complete=True).gate_side == "auto"
    assert "gate_side" not in without_added({"method": present})["method"]
    assert "gate_side" in without_added({"method": present | {"gate_side": "auto"}})["method"]


def test_data_of_former_runs_are_split_by_pairs():
    present = stored(MiniData())
    newer = ("split_by", "split_seed", "skip_long")
    former = {key: value for key, value in present.items() if key not in newer}
    loaded = typed_config([MiniData, PairsData], former, complete=True)
    assert (loaded.split_by, loaded.split_seed, loaded.skip_long) == ("pair", 0, False)
    assert without_added({"data": stored(loaded)}) == {"data": former}
    # The default of this version is another draw, so it is another run.
    assert without_added({"data": present}) != {"data": former}


def test_tables_with_keys_of_the_users_own_keep_them():
    texts = {"closed": {"text": "x"}}
    settings = {"method": stored(Worded("reminder", texts=texts)), "methods": {"closed": {}}}
    assert current_names(settings) == settings
