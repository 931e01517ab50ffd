"""The files in conf/ compose, and the dataclasses refuse values that mean nothing."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from calib import config
from calib.command import CONF
from calib.directions import estimators
from calib.errors import CalibError
from calib.scoring import labels

GROUPS = ("model", "method", "data", "utility", "judge")
MANDATORY = {"plot": ["runs=[runs/one]"]}


def composed(name: str, *overrides: str) -> object:
    config.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return OmegaConf.to_object(compose(name, [*MANDATORY.get(name, []), *overrides]))


@pytest.mark.parametrize("name", config.ENTRY_POINTS)
def test_every_entry_point_composes_into_its_dataclass(name):
    assert type(composed(name)) is config.ENTRY_POINTS[name]


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
    sweep = composed("sweep")
    assert sweep == sweep_config()


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
    assert isinstance(sweep.data, config.VscbenchData)
    assert sweep.data.root == "/some/where"


def sweep_config(**changes: object) -> config.SweepConfig:
    return config.SweepConfig(
        model=config.ModelConfig("internvl"),
        method=config.Steer(),
        data=config.MiniData(),
        utility=config.UtilityConfig("mini", limit=300),
        judge=config.JudgeConfig("auto"),
        **changes,
    )


def test_the_names_that_are_checked_early_are_those_of_the_registries():
    assert set(config.MAPPINGS) == set(labels.MAPPINGS)
    assert set(config.ESTIMATORS) == set(estimators.ESTIMATORS)


@pytest.mark.parametrize("layers", ["all", 0, 5, [0], [3, 4]])
def test_layers_that_are_layers(layers):
    assert config.Steer(layers=layers).layers == layers


@pytest.mark.parametrize("layers", ["last", [], [-1], -1, [1.5], True, [True], ["3"], None])
def test_layers_that_are_none(layers):
    with pytest.raises(CalibError, match=r"method\.layers.*names no layers.*\[3,4\]"):
        config.Steer(layers=layers)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: config.Steer(positions="respons"), "method.positions.*'respons'.*'response'"),
        (lambda: config.Steer(read_positions="all"), "method.read_positions.*'all'.*last_prompt"),
        (lambda: config.Steer(contrast="safe"), "method.contrast.*'safe'.*'safety'"),
        (lambda: config.Steer(strengths=[]), "method.strengths.*empty"),
        (lambda: config.Steer(strengths=[1.0, float("inf")]), "method.strengths: inf.*finite"),
        (lambda: config.Steer(direction=" "), "method.direction.*empty"),
        (lambda: config.ModelConfig("m", dtype="fp32"), "model.dtype.*'fp32'.*float32, bfloat16"),
        (lambda: config.MiniData(parts=["image"]), "data.parts.*'image'.*image_centric"),
        (lambda: config.MiniData(parts=[]), "data.parts.*empty"),
        (lambda: config.MiniData(limit=0), "data.limit: 0.*1 or more"),
        (lambda: config.VscbenchData(root=""), "data.root.*empty"),
        (lambda: config.VscbenchData(variants=[]), "data.variants.*empty"),
        (lambda: config.UtilityConfig("mini", limit=-1), "utility.limit: -1"),
        (lambda: config.GenerationConfig(max_new_tokens=0), "generation.max_new_tokens: 0"),
        (lambda: config.GenerationConfig(batch_rows=0), "generation.batch_rows: 0"),
        (lambda: config.GenerationConfig(memory_gb=0), "generation.memory_gb: 0"),
        (lambda: config.GenerationConfig(memory_gb=float("nan")), "generation.memory_gb: nan"),
        (lambda: config.GenerationConfig(temperature=-1), "generation.temperature: -1"),
        (lambda: config.GenerationConfig(temperature=float("nan")), "generation.temperature: nan"),
        (lambda: config.GenerationConfig(top_p=0), "generation.top_p: 0"),
        (lambda: config.GenerationConfig(top_p=1.5), "generation.top_p: 1.5"),
        (lambda: config.Steer(estimator="mean"), "method.estimator: 'mean'.*mean_difference"),
        (lambda: sweep_config(mapping="papr"), "mapping.*'papr'.*'paper'"),
        (
            lambda: config.ExtractConfig(config.ModelConfig("m"), config.MiniData(), "pca"),
            "estimator: 'pca'.*mean_difference",
        ),
        (lambda: config.ExportConfig(format="gguf"), "format: 'gguf'.*native"),
        (lambda: config.PlotConfig(runs=[]), "runs.*empty"),
        (lambda: config.ExportConfig(run=""), "run: the path is empty"),
    ],
)
def test_values_that_mean_nothing(make, words):
    with pytest.raises(CalibError, match=words):
        make()
