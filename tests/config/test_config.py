"""The files in conf/ compose, and the dataclasses refuse values that mean nothing."""

from pathlib import Path
from typing import get_args

import pytest
from composing import composed

from calib.config.choices import MAPPINGS, Positions, Site
from calib.config.commands import ExportConfig, PlotConfig
from calib.config.data import MiniData, UtilityConfig, VscbenchData
from calib.config.judge import JudgeConfig
from calib.config.method import Steer
from calib.config.model import ModelConfig
from calib.config.prompts import NoneMethod, Worded
from calib.config.schemas import CONF, ENTRY_POINTS
from calib.config.schemas import method as methods
from calib.config.sweep import ExtractConfig, GenerationConfig, SweepConfig
from calib.directions import estimators
from calib.interventions import contrasts, steering
from calib.report.figures import fitted
from calib.scoring import judged as labels
from calib.util.errors import CalibError

GROUPS = ("model", "method", "data", "utility", "judge")


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_composes_into_its_dataclass(name):
    assert type(composed(name)) is ENTRY_POINTS[name]


@pytest.mark.parametrize(
    "path", [path for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))], ids=str
)
def test_every_option_composes_under_its_own_name(path: Path):
    group = path.parent.name
    sweep = composed("sweep", f"{group}={path.stem}")
    assert getattr(sweep, group).name == path.stem


def test_every_conf_file_says_what_it_is():
    for path in CONF.rglob("*.yaml"):
        lines = path.read_text().splitlines()
        comments = [line for line in lines if line.startswith("#") and "@package" not in line]
        assert len(" ".join(comments)) > 40, f"{path} does not say what it is"


def test_the_defaults_are_those_of_the_dataclasses():
    sweep = composed("sweep", "method@reference=none")
    assert sweep == sweep_config()
    assert composed("sweep").reference == composed("sweep", "method=caution").method


def test_overrides_arrive_typed():
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


def test_the_names_that_are_checked_early_are_those_of_the_registries():
    assert set(MAPPINGS) == set(labels.MAPPINGS)
    # The other two find more than one direction per layer, for methods of their own.
    several = {"svd_subspace", "nullspace_ridge"}
    assert set(methods.ESTIMATORS) | several == set(estimators.ESTIMATORS)
    assert set(methods.CONTRASTS) == set(contrasts.CONTRASTS)
    assert set(methods.CONTRASTS) == set(fitted._SIDES)
    assert set(methods.OPERATORS) == set(steering.AXES)
    assert set(methods.SITES) == set(get_args(Site))
    assert set(methods.POSITIONS) == set(get_args(Positions))
    assert set(methods.READ_POSITIONS) < set(methods.POSITIONS)


@pytest.mark.parametrize("layers", ["all", 0, 5, [0], [3, 4]])
def test_layers_that_are_layers(layers):
    assert Steer(layers=layers).layers == layers


@pytest.mark.parametrize("layers", ["last", [], [-1], -1, [1.5], True, [True], ["3"], None])
def test_layers_that_are_none(layers):
    with pytest.raises(CalibError, match=r"method\.layers.*names no layers.*\[3,4\]"):
        Steer(layers=layers)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Steer(positions="respons"), "method.positions.*'respons'.*'response'"),
        (lambda: Steer(read_positions="all"), "method.read_positions.*'all'.*last_prompt"),
        (lambda: Steer(contrast="safe"), "method.contrast.*'safe'.*'safety'"),
        (lambda: Steer(strengths=[]), "method.strengths.*empty"),
        (lambda: Steer(strengths=[1.0, float("inf")]), "method.strengths: inf.*finite"),
        (lambda: Steer(direction=" "), "method.direction.*empty"),
        (lambda: ModelConfig("m", dtype="fp32"), "model.dtype.*'fp32'.*float32, bfloat16"),
        (lambda: MiniData(parts=["image"]), "data.parts.*'image'.*image_centric"),
        (lambda: MiniData(parts=[]), "data.parts.*empty"),
        (lambda: MiniData(limit=0), "data.limit: 0.*1 or more"),
        (lambda: VscbenchData(root=""), "data.root.*empty"),
        (lambda: VscbenchData(variants=[]), "data.variants.*empty"),
        (lambda: UtilityConfig("mini", limit=-1), "utility.limit: -1"),
        (lambda: GenerationConfig(max_new_tokens=0), "generation.max_new_tokens: 0"),
        (lambda: GenerationConfig(batch_rows=0), "generation.batch_rows: 0"),
        (lambda: GenerationConfig(memory_gb=0), "generation.memory_gb: 0"),
        (lambda: GenerationConfig(memory_gb=float("nan")), "generation.memory_gb: nan"),
        (lambda: GenerationConfig(temperature=-1), "generation.temperature: -1"),
        (lambda: GenerationConfig(temperature=float("nan")), "generation.temperature: nan"),
        (lambda: GenerationConfig(top_p=0), "generation.top_p: 0"),
        (lambda: GenerationConfig(top_p=1.5), "generation.top_p: 1.5"),
        (lambda: Steer(estimator="mean"), "method.estimator: 'mean'.*mean_difference"),
        (lambda: sweep_config(mapping="papr"), "mapping.*'papr'.*'paper'"),
        (lambda: sweep_config(reference=Steer()), "method@reference=steer does not change"),
        (
            lambda: extract_config(estimator="pce"),
            "estimator: 'pce'.*'pca'",
        ),
        (lambda: extract_config(contrast="saftey"), "contrast: 'saftey'.*'safety'"),
        (lambda: extract_config(read_positions="response"), "read_positions: 'response'.*prompt"),
        (lambda: extract_config(site="head"), "site: 'head'.*'heads'"),
        (lambda: extract_config(kl=0), "kl: 0 is not a positive number"),
        (lambda: extract_config(layers="middle"), "layers: 'middle' names no layers"),
        (lambda: extract_config(max_new_tokens=0), "max_new_tokens: 0"),
        (lambda: Steer(kl=float("nan")), "method.kl: nan is not a positive number"),
        (lambda: Steer(site="layer"), "method.site: 'layer'.*residual"),
        (lambda: Steer(operator="ad"), "method.operator: 'ad'.*'add'"),
        (lambda: Steer(gate="prob"), "method.gate: 'prob'.*'probe'"),
        (lambda: Steer(otherwise="opposit"), "method.otherwise: 'opposit'.*'opposite'"),
        (lambda: Steer(gate_layers="auto"), "method.gate_layers: 'auto' names no layers"),
        (
            lambda: Steer(layers="auto", all_layers_at_once=True),
            "auto chooses one layer, but.*together",
        ),
        (lambda: Steer(direction="f", site="heads"), "method.site=heads with method.direction"),
        (lambda: methods.Adaptive("a", coefficient_layer=[1]), "coefficient_layer: give one layer"),
        (lambda: methods.Adaptive("a", harm_limits=[1, -1]), r"harm_limits: \[1, -1\] is not"),
        (lambda: methods.Adaptive("a", harm_slope=float("inf")), "harm_slope: inf"),
        (lambda: methods.Nullspace("n", null_share=1.5), "null_share: 1.5 is not between 0 and 1"),
        (lambda: methods.Nullspace("n", ridge=0), "ridge: 0 is not a positive"),
        (lambda: methods.Revision("r", samples="answers"), "samples: 'answers'.*responses"),
        (lambda: methods.Revision("r", extractor="probe"), "extractor: 'probe'.*probe_weight"),
        (lambda: methods.Revision("r", heads=0), "heads: 0 is too small"),
        (lambda: methods.Captioned("c", captions=" "), "captions: the path is empty"),
        (lambda: methods.Modality("m", picture="black"), "picture: 'black'.*blank"),
        (lambda: methods.Subspace("s", rank=0), "rank: 0 is too small"),
        (lambda: Worded("w", place="infront"), "place: 'infront'.*before"),
        (
            lambda: sweep_config(methods={"a": Worded("reminder")}),
            r"method=steer would be left out beside methods \(a\).*method=none",
        ),
        (lambda: ExportConfig(format="onnx"), "format: 'onnx'.*native, gguf"),
        (lambda: PlotConfig(runs=[]), "runs.*empty"),
        (lambda: ExportConfig(run=""), "run: the path is empty"),
    ],
)
def test_values_that_mean_nothing(make, words):
    with pytest.raises(CalibError, match=words):
        make()
