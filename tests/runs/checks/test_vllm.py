"""Settings that vLLM cannot carry out are refused before a run starts."""

import pytest
from raising import raises

from calib.config.data import MiniData, UtilityConfig
from calib.config.engine import EngineChoice, VllmChoice
from calib.config.method import Ablation, Combine, Revision, Sampled, Steer
from calib.config.model import ModelConfig, RemoteModelConfig
from calib.config.prompts import Worded
from calib.config.sweep import ExtractConfig
from calib.runs.checks.vllm import (
    check_engine,
    check_extraction,
    check_methods,
    comparison_notes,
    edits_activations,
)

SERVER = VllmChoice(base_url="http://localhost:8000")
OWN_SERVER = VllmChoice(base_url="http://localhost:8000", hooks=True)
HERE = VllmChoice()


def test_a_remote_model_has_no_engine():
    remote = RemoteModelConfig("gpt", model="m")
    with raises("conflicting-settings", "engine=vllm", "gpt"):
        check_engine(HERE, remote)
    check_engine(EngineChoice(), remote)
    check_engine(HERE, ModelConfig("internvl"))


def test_weights_quantized_by_transformers_are_refused_before_they_are_loaded():
    quantized = ModelConfig("m", quantization="4bit")
    for engine in (HERE, SERVER):
        with raises("unsupported", "model.quantization=4bit", "engine.extra"):
            check_engine(engine, quantized)
    check_engine(EngineChoice(), quantized)


def test_a_vision_tower_that_only_calib_reads_is_refused():
    for engine in (HERE, SERVER):
        with raises("unsupported", "./built/smolvlm_emoji", "engine=transformers"):
            check_engine(engine, ModelConfig("m", checkpoint="./built/smolvlm_emoji"))


def test_copies_of_the_model_in_this_process_are_refused():
    with raises("unsupported", "engine.data_parallel=2", "devices=all"):
        check_engine(VllmChoice(data_parallel=2), ModelConfig("internvl"))


@pytest.mark.parametrize(
    "method",
    [Steer("steer", site="mlp"), Revision("iar_head"), Sampled("own", file="vti")],
    ids=["site", "heads", "vti"],
)
def test_edits_inside_a_block_are_refused(method):
    for engine in (HERE, OWN_SERVER):
        with raises("unsupported", f"method={method.name}", "engine=transformers"):
            check_methods(engine, [method])
    check_methods(EngineChoice(), [method])


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Steer("steer"), "method.positions=response"),
        (Steer("steer", operator="clamp", positions="all"), "method.operator=clamp"),
        (Ablation("ablate"), "depend on the activation"),
        (Combine("both", prompt=Worded("caution"), activation=Steer("steer")), "method.positions"),
    ],
)
def test_hooks_need_a_server_of_ones_own(method, reason):
    with raises("unsupported", method.name, reason, "engine.hooks=true", "method.operator=add"):
        check_methods(SERVER, [method])
    for engine in (HERE, OWN_SERVER):
        check_methods(engine, [method])


def test_additions_to_every_token_and_prompts_need_no_hooks():
    plain = [
        Steer("a", positions="all"),
        Steer("b", positions="all", operator="add_by_norm"),
        Worded("caution"),
    ]
    check_methods(SERVER, plain)
    assert edits_activations(plain) and not edits_activations(plain[2:])


def test_extractions_read_the_residual_stream_and_measure_effects_with_hooks():
    def extraction(**changes):
        return ExtractConfig(ModelConfig("internvl"), MiniData(), UtilityConfig("mini"), **changes)

    with raises("unsupported", "site=heads"):
        check_extraction(HERE, extraction(site="heads"))
    with raises("unsupported", "kl=0.1", "engine.hooks=true"):
        check_extraction(SERVER, extraction())
    check_extraction(SERVER, extraction(kl=None))
    check_extraction(HERE, extraction())
    check_extraction(EngineChoice(), extraction(site="heads"))


def test_a_run_without_weights_and_edits_says_that_nothing_is_compared():
    without = VllmChoice(weights=False)
    (note,) = comparison_notes(without, [Worded("caution")])
    assert "engine.weights=false" in note
    assert comparison_notes(without, []) == [note]
    for engine, method in (
        (HERE, Worded("a")),
        (without, Steer("b")),
        (EngineChoice(), Worded("c")),
    ):
        assert comparison_notes(engine, [method]) == []
