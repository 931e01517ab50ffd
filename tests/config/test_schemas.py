"""The files in conf/ compose into the schemas, and the schemas refuse invalid values."""

from pathlib import Path

import pytest
from composing import composed, option
from raising import raises

from calib.config.commands import ExportConfig, ImportConfig, PlotConfig
from calib.config.data import MiniData, UtilityConfig, VscbenchData
from calib.config.judge import JudgeConfig, JudgeRunConfig
from calib.config.method import (
    Ablation,
    Adaptive,
    Captioned,
    Modality,
    Nullspace,
    Revision,
    Steer,
    Subspace,
)
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod, Worded
from calib.config.schemas import CONF, ENTRY_POINTS, GROUPS
from calib.config.sweep import ExtractConfig, GenerationConfig, SweepConfig


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_command_composes_into_its_dataclass(name):
    assert type(composed(name)) is ENTRY_POINTS[name]


@pytest.mark.parametrize(
    "path", [path for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))], ids=str
)
def test_every_option_composes_under_its_own_name(path: Path):
    group = path.parent.name
    sweep = composed("sweep", *option(group, path.stem))
    chosen = {("utility", "auto"): "mini"}  # tests/config/test_chosen_utility.py
    assert getattr(sweep, group).name == chosen.get((group, path.stem), path.stem)


def test_any_other_model_needs_its_checkpoint():
    with raises("missing-setting", "model.checkpoint"):
        composed("sweep", "model=hf")
    with raises("missing-setting", "model.checkpoint"):
        composed("serve", "model.checkpoint=' '")
    model = composed("sweep", "model=hf", "model.checkpoint=./models/Some-VLM").model
    assert model.folder_name == "Some-VLM"


def test_every_conf_file_begins_with_an_explanation():
    for path in CONF.rglob("*.yaml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = [line for line in lines if line.startswith("#") and "@package" not in line]
        assert len(" ".join(comments)) > 40, f"{path} is not explained"


def test_every_command_has_a_line_for_the_list_of_commands():
    for name, schema in ENTRY_POINTS.items():
        line = schema.__doc__ or ""
        assert line.endswith(".") and "\n" not in line and len(line) <= 87, f"{name}: {line!r}"


def test_a_response_of_a_published_model_may_be_longer_than_one_of_mini_internvl():
    def lengths(*model):
        return (
            composed("sweep", *model).generation.max_new_tokens,
            composed("extract", *model).max_new_tokens,
        )

    assert lengths() == (32, 32)
    assert lengths("model=qwen2_5_vl") == (256, 256)
    assert lengths("model.checkpoint=some/model") == (256, 256)
    assert composed("sweep", "model=gpt").generation.max_new_tokens == 256
    given = composed("sweep", "model=qwen2_5_vl", "generation.max_new_tokens=9")
    assert given.generation.max_new_tokens == 9
    assert composed("serve").generation.max_new_tokens == 512
    assert composed("serve", "generation.max_new_tokens=null").generation.max_new_tokens == 512


def test_the_defaults_in_conf_are_those_of_the_dataclasses():
    sweep = composed("sweep", "method@reference=none")
    assert sweep == sweep_config()
    assert composed("sweep").reference == composed("sweep", "method=caution").method


def test_overrides_are_converted_to_the_types_of_the_fields():
    sweep = composed(
        "sweep",
        "method.strengths=[0,1,2]",
        "method.layers=[3,4]",
        "method.positions=response",
        "data=vscbench",
        "data.root=/some/where",
    )
    assert sweep.method.strengths == [0.0, 1.0, 2.0]
    assert sweep.method.layers == [3, 4]
    assert isinstance(sweep.data, VscbenchData)
    assert sweep.data.root == "/some/where"


def sweep_config(**changes: object) -> SweepConfig:
    settings = {
        "model": ModelConfig("internvl"),
        "method": Steer(),
        "reference": NoneMethod(),
        "data": MiniData(),
        "utility": UtilityConfig("mini", limit=300),
        "judge": JudgeConfig("auto"),
    }
    return SweepConfig(**{**settings, **changes})


def extract_config(**changes: object) -> ExtractConfig:
    model, utility = ModelConfig("m"), UtilityConfig("mini")
    return ExtractConfig(model, MiniData(), utility, **changes)


def import_config(**changes: object) -> ImportConfig:
    return ImportConfig(**{"model": ModelConfig("m"), "format": "gguf", **changes})


def judge_config(**changes: object) -> JudgeRunConfig:
    return JudgeRunConfig(JudgeConfig("auto"), **changes)


@pytest.mark.parametrize("layers", ["all", 0, 5, [0], [3, 4]])
def test_valid_layers(layers):
    assert Steer(layers=layers).layers == layers


@pytest.mark.parametrize("layers", ["last", [], [-1], -1, [1.5], True, [True], ["3"], None])
def test_invalid_layers(layers):
    with raises("invalid-setting", "method.layers", repr(layers), "method.layers=[3,4]"):
        Steer(layers=layers)


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda: Steer(positions="respons"), ["method.positions", "'respons'", "'response'"]),
        (lambda: Steer(read_positions="all"), ["method.read_positions", "'all'", "last_prompt"]),
        (lambda: Steer(contrast="safe"), ["method.contrast", "'safe'", "'safety'"]),
        (lambda: Steer(estimator="mean"), ["method.estimator", "'mean'", "mean_difference"]),
        (lambda: Steer(strengths=[]), ["method.strengths"]),
        (lambda: Steer(strengths=[1.0, float("inf")]), ["method.strengths", "inf"]),
        (lambda: Steer(kl=float("nan")), ["method.kl", "nan"]),
        (lambda: Steer(direction=" "), ["method.direction"]),
        (lambda: Steer(site="layer"), ["method.site", "'layer'", "residual"]),
        (lambda: Steer(operator="ad"), ["method.operator", "'ad'", "'add'"]),
        (lambda: Steer(gate="prob"), ["method.gate", "'prob'", "'probe'"]),
        (lambda: Steer(otherwise="opposit"), ["method.otherwise", "'opposit'", "'opposite'"]),
        (lambda: Steer(gate_layers="auto"), ["method.gate_layers", "'auto'"]),
        (lambda: Adaptive("a", coefficient_layer=[1]), ["method.coefficient_layer", [1], "auto"]),
        (lambda: Adaptive("a", harm_limits=[1, -1]), ["method.harm_limits", [1, -1]]),
        (lambda: Adaptive("a", harm_slope=float("inf")), ["harm_slope", "inf"]),
        (lambda: Nullspace("n", null_share=1.5), ["method.null_share", 1.5, 0, 1]),
        (lambda: Nullspace("n", ridge=0), ["method.ridge", 0]),
        (lambda: Revision("r", samples="answers"), ["method.samples", "'answers'", "responses"]),
        (lambda: Revision("r", extractor="probe"), ["method.extractor", "probe_weight"]),
        (lambda: Revision("r", heads=0), ["method.heads", 0]),
        (lambda: Captioned("c", captions=" "), ["method.captions"]),
        (lambda: Modality("m", picture="black"), ["method.picture", "'black'", "blank"]),
        (lambda: Subspace("s", rank=0), ["method.rank", 0]),
        (lambda: Worded("w", place="infront"), ["method.place", "'infront'", "before"]),
        (lambda: ModelConfig("m", dtype="fp32"), ["model.dtype", "'fp32'", "float32, bfloat16"]),
        (lambda: MiniData(parts=["image"]), ["data.parts", "'image'", "image_centric"]),
        (lambda: MiniData(parts=[]), ["data.parts"]),
        (lambda: MiniData(limit=0), ["data.limit", 0, 1]),
        (lambda: VscbenchData(root=""), ["data.root"]),
        (lambda: VscbenchData(variants=[]), ["data.variants"]),
        (lambda: UtilityConfig("mini", limit=-1), ["utility.limit", -1]),
        (lambda: GenerationConfig(max_new_tokens=0), ["generation.max_new_tokens", 0]),
        (lambda: GenerationConfig(batch_rows=0), ["generation.batch_rows", 0]),
        (lambda: GenerationConfig(memory_gb=0), ["generation.memory_gb", 0]),
        (lambda: GenerationConfig(memory_gb=float("nan")), ["generation.memory_gb", "nan"]),
        (lambda: GenerationConfig(temperature=-1), ["generation.temperature", -1]),
        (lambda: GenerationConfig(temperature=float("nan")), ["generation.temperature", "nan"]),
        (lambda: GenerationConfig(top_p=0), ["generation.top_p", 0]),
        (lambda: GenerationConfig(top_p=1.5), ["generation.top_p", 1.5]),
        (lambda: sweep_config(mapping="papr"), ["mapping", "'papr'", "'paper'"]),
        (lambda: sweep_config(reference=Steer()), ["method@reference=steer", "caution"]),
        (lambda: extract_config(estimator="pce"), ["estimator", "'pce'", "'pca'"]),
        (lambda: extract_config(contrast="saftey"), ["contrast", "'saftey'", "'safety'"]),
        (
            lambda: extract_config(read_positions="last_prompt-0"),
            ["read_positions", "last_prompt-0"],
        ),
        (lambda: extract_config(site="head"), ["site", "'head'", "'heads'"]),
        (lambda: extract_config(kl=0), ["kl", 0]),
        (lambda: extract_config(layers="middle"), ["layers", "'middle'"]),
        (lambda: extract_config(max_new_tokens=0), ["max_new_tokens", 0]),
        (lambda: ExportConfig(format="onnx"), ["format", "'onnx'", "native, gguf"]),
        (lambda: ExportConfig(run=""), ["run"]),
        (lambda: import_config(format="onnx"), ["format", "'onnx'", "gguf"]),
        (lambda: PlotConfig(runs=[]), ["runs"]),
        (lambda: PlotConfig(runs=["r"], columns=3), ["columns", 3]),
        (lambda: PlotConfig(runs=["r"], formats=["gif"]), ["formats", "'gif'", "png, pdf, svg"]),
        (lambda: judge_config(check="f", columns=3), ["columns", 3]),
    ],
)
def test_invalid_values_are_refused(make, values):
    with raises("invalid-setting", *values):
        make()


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (
            lambda: Steer(layers="auto", all_layers_at_once=True),
            ["method.layers=auto", "method.all_layers_at_once"],
        ),
        (
            lambda: Ablation("ablate", all_layers_at_once=True),
            ["ablate", "method.edited_layers", "method.all_layers_at_once"],
        ),
        (
            lambda: Steer(layers=[1, 2], first_layers="all"),
            ["method.first_layers=all", "method.all_layers_at_once=true"],
        ),
        (
            lambda: Ablation("ablate", selection="published", layers="auto"),
            ["method.layers=auto", "method.selection=published"],
        ),
        (
            lambda: Ablation("ablate", selection="published", read_positions="prompt"),
            ["method.read_positions=prompt", "method.selection=published"],
        ),
        (
            lambda: extract_config(read_positions="response"),
            ["read_positions=response", "contrast=safety"],
        ),
        (lambda: Steer(direction="f", site="heads"), ["method.site=heads", "method.direction"]),
        (
            lambda: sweep_config(methods={"a": Worded("reminder")}),
            ["method=steer", "(a)", "+method@methods.steer=steer", "method=none"],
        ),
        (lambda: import_config(hub="me/d"), ["hub", "native", "gguf"]),
        (lambda: import_config(file="f", hub="me/d"), ["file=", "hub="]),
        (lambda: import_config(format="native", file="f", shift=1), ["native", "shift", "layers"]),
        (lambda: judge_config(run="r", merge=True), ["merge", "check="]),
        (lambda: judge_config(check="f", out="o"), ["check", "out="]),
        (lambda: judge_config(run="r", audit=5, mapping="paper"), ["mapping", "audit"]),
    ],
)
def test_conflicting_settings_are_refused(make, values):
    with raises("conflicting-settings", *values):
        make()


def test_an_import_needs_a_source():
    with raises("missing-setting", "file=", "hub="):
        import_config()
