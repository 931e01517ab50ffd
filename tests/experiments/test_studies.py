"""The studies: their commands compose, no model is left out, and their pages show their results."""

import importlib
import re
from pathlib import Path

import pytest
from composing import composed

from calib.scoring.results import Result, read_results, write_results
from experiments import studies
from experiments.dualbench_table2 import study as dualbench_table2
from experiments.frontier import axes
from experiments.frontier import study as frontier
from experiments.smolvlm_emoji.dual_use import TABLE
from experiments.studies import DRAWINGS, Model, models
from experiments.vscbench_fig1 import study as vscbench_fig1
from experiments.vscbench_fig5 import study as vscbench_fig5
from experiments.vscbench_text import study as vscbench_text

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/study.py"))
REMOTE = "model=gemini model.model=ID data=vscbench data.root=FOLDER utility=mme"


def commands(model: Model) -> list[tuple[str, ...]]:
    """The settings with which each study runs a model."""
    of_studies = (
        vscbench_fig5.settings(model),
        vscbench_fig1.settings(model),
        dualbench_table2.settings(model),
    )
    return [(*model.overrides, *settings) for settings in of_studies]


def test_every_run_has_a_valid_configuration() -> None:
    offered = {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    for model in models():
        if model.overrides[0].removeprefix("model=") not in offered:
            assert model.missing
            continue
        four, *uncalibrated = (composed("sweep", *settings) for settings in commands(model))
        assert list(four.methods) == ["reminder", "few_shot", "iar_layer", "iar_head"]
        assert [config.method.name for config in uncalibrated] == ["none", "none"]
        if not model.world:
            # Relative to the root, so that results name no folder of a machine.
            tables = [Path(config.data.file) for config in (four, *uncalibrated)]
            assert tables == [DRAWINGS / "pairs.csv", DRAWINGS / "pairs.csv", DRAWINGS / TABLE]
            assert (four.utility.name, uncalibrated[0].utility.name) == ("own", "none")
            assert {config.judge.name for config in (four, *uncalibrated)} == {"string"}


@pytest.mark.parametrize("remote", ["", REMOTE])
def test_the_remote_model_takes_the_methods_that_change_the_prompt(remote: str) -> None:
    config = composed("sweep", *vscbench_fig5.remote_model(remote, 8765).overrides)
    assert list(config.methods) == ["reminder", "few_shot"]
    assert config.model.name == ("gemini" if remote else "vllm")


def test_the_text_study_asks_models_of_real_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    built = studies._emoji("smolvlm_emoji")
    monkeypatch.setattr(studies, "models", lambda: [models()[0], Model("emoji", built.overrides)])
    mini, emoji, methods = vscbench_text.chosen("FOLDER")
    assert mini.missing and not emoji.missing and vscbench_text.chosen("")[1].missing
    prompted, config = (
        composed("sweep", *emoji.overrides, *vscbench_text.settings(model, "FOLDER", 40))
        for model in (emoji, methods)
    )
    assert (prompted.method.text, prompted.data.limit) == (vscbench_text.REMINDER, None)
    assert list(config.methods) == ["reminder", "self_check", "steer"]
    assert (config.data.name, config.data.variants) == ("vscbench", ["text_only"])
    texts = (config.methods["reminder"].text, config.methods["self_check"].check)
    assert texts == (vscbench_text.REMINDER, vscbench_text.CHECK) and "{query}" in texts[1]


def test_a_text_study_without_models_leaves_its_results_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vscbench_text, "HERE", tmp_path)
    vscbench_text.main(out=tmp_path)
    assert not list(tmp_path.iterdir()) and "smolvlm_emoji" in capsys.readouterr().out


def test_the_second_mini_world_is_tested_on_held_out_concepts() -> None:
    first, second = models()[:2]
    assert studies.held_out_combinations(first) == "data.split_by=pair"
    assert studies.held_out_combinations(second) == "data.split_by=null"


def test_models_without_their_data_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "built" / "smolvlm_emoji").mkdir(parents=True)
    monkeypatch.setattr(studies, "ROOT", tmp_path)
    without = {model.name: model.missing for model in studies.needs_vscbench("")}
    given = {model.name: model.missing for model in studies.needs_vscbench("FOLDER")}
    assert "VSCBench" in without["smolvlm_emoji"] and not given["smolvlm_emoji"]
    assert "built" in without["smolvlm_emoji_guard"] == given["smolvlm_emoji_guard"]
    assert not without["mini-internvl"]
    for table in ("pairs.csv", TABLE):
        without = {model.name: model.missing for model in studies.needs_drawings(table)}
        assert "-m experiments.smolvlm_emoji.pairs" in without["smolvlm_emoji"]
        assert not without["mini-internvl"]
        (tmp_path / DRAWINGS).mkdir(exist_ok=True)
        (tmp_path / DRAWINGS / table).touch()
        given = {model.name: model.missing for model in studies.needs_drawings(table)}
        assert not given["smolvlm_emoji"] and "built" in given["smolvlm_emoji_guard"]


def test_the_frontier_compares_all_methods_and_one_choice_at_a_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(axes, "fitted", lambda *arguments: [])
    model = models()[1]
    composed_of = {
        study: composed("sweep", *model.overrides, *frontier.settings(study, model, 20, tmp_path))
        for study in frontier.STUDIES
    }
    assert len(composed_of["methods"].methods) == 24
    parts, one_choice = (list(composed_of[study].methods) for study in ("parts", "axes"))
    assert parts == [*frontier.WITHOUT, "no_gate", "self_check"]
    assert one_choice == [variant.name for variant in axes.CONFIGURED]
    default = composed_of["axes"].methods[axes.DEFAULT]
    for variant in axes.CONFIGURED[1:]:
        method = composed_of["axes"].methods[variant.name]
        differing = [key for key, value in vars(default).items() if value != getattr(method, key)]
        assert 1 <= len(set(differing) - {"name"}) <= 2, variant
    data = {config.data.name for config in composed_of.values()}
    assert data == {config.utility.name for config in composed_of.values()} == {model.world}


@pytest.mark.parametrize("model", models()[2:], ids=lambda model: model.name)
def test_the_frontier_gives_every_method_four_settings_on_drawings(
    tmp_path: Path, model: Model
) -> None:
    config = composed(
        "sweep", *model.overrides, *frontier.settings("methods", model, 100, tmp_path)
    )
    left_out = frontier.drawings.NOT_APPLICABLE.get(model.name, {})
    assert len(config.methods) == 24 - len(left_out) and not left_out.keys() & config.methods.keys()
    for name, method in config.methods.items():
        steered = method.activation if name == "combine" else method
        layers = getattr(steered, "first_layers", None) or getattr(steered, "layers", None)
        number = len(layers) if isinstance(layers, list) else 1
        assert number * len(steered.strengths) == 4, name
    assert (config.data.limit, config.utility.limit, config.utility.name) == (24, 24, "own")


def test_directions_of_few_pairs_and_of_wrong_labels(tmp_path: Path) -> None:
    every = axes.train_pairs("mini", ["image_centric"])
    assert axes.drawn(every, 0) != axes.drawn(every, 1) and sorted(
        pair.unsafe.id for pair in axes.drawn(every, 0)
    ) == sorted(pair.unsafe.id for pair in every)
    wrong = axes.exchanged(every, 0.25)
    changed = [k for k, pair in enumerate(every) if wrong[k] != pair]
    assert len(changed) == round(0.25 * len(every))
    assert all(wrong[k].safe == every[k].unsafe for k in changed)


def result(method: str, layer: int | None, strength: float, **changes: object) -> Result:
    values = {
        "method": method, "layer": layer, "strength": strength, "split": "test", "dataset": "all",
        "variant": "all", "category": "all", "metric": "SRA", "value": 0.5, "low": 0.25,
        "high": 0.75, "n": 8, "clusters": 4,
    } | changes  # fmt: skip
    return Result(**values)  # type: ignore[arg-type]


def test_results_have_the_operating_points_and_name_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    rows = [
        result("none", None, 0.0), result("none", None, 0.0, split="validation"),
        result("none", None, 0.0, category="fire"), result("none", None, 0.0, metric="KL"),
        result("steer", 2, 1.0, value=0.75), result("steer", 2, 2.0), result("steer", 3, 1.0),
    ]  # fmt: skip
    write_results(folder / "results.csv", "run", "checkpoint", rows)
    (folder / "operating_points.json").write_text(
        '[{"method": "steer", "layer": 2, "strength": 1}, '
        '{"method": "iar_head", "layer": null, "strength": 0.0}]',
        encoding="utf-8",
    )
    path = tmp_path / "results.csv"
    studies.write_results(path, {"one": folder}, {"two": "not built"}, ("SRA",))
    written = studies.read(path)
    assert [(row["run"], row["method"], row["layer"], row["note"]) for row in written] == [
        ("one", "none", "", ""), ("one", "steer", "2", ""), ("one", "iar_head", "", studies.KEPT),
        ("two", "none", "", "not built"),
    ]  # fmt: skip
    assert [row["n"] for row in written] == ["8", "8", "0", "0"]
    assert [len(run.results) for run in read_results(path)] == [3, 1]
    shown = [studies.percent(row) for row in written]
    assert shown == ["50.0 (25.0 to 75.0)", "75.0 (25.0 to 75.0)", "-", "-"]


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_study_shows_its_results(name: str) -> None:
    folder = ROOT / "experiments" / name
    study = importlib.import_module(f"experiments.{name}.study")
    tables = study.markdown(folder / "results.csv").split("\n\n")
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert [table for table in tables if table not in page] == []
    assert {model.name for model in models()} <= {
        r["run"] for r in studies.read(folder / "results.csv")
    }
    assert (folder / "figure.png").is_file() and "(figure.png)" in page


def test_make_starts_every_study() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert sorted(re.findall(r"-m experiments\.(\w+)\.study", makefile)) == NAMES
