"""--help: the groups, settings and meanings of a composed configuration, in 100 columns."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from calib.cli.help import groups_text, meanings, register_help, settings_text
from calib.config.commands import ConvertConfig
from calib.config.method import Steer
from calib.config.model import ModelConfig
from calib.config.schemas import CONF, ENTRY_POINTS, register
from calib.config.sweep import SweepConfig


@pytest.fixture
def composed():
    """The configuration of a command, including Hydra's own."""
    register()
    register_help()

    def composed(name, *overrides):
        GlobalHydra.instance().clear()
        initialize_config_dir(version_base="1.3", config_dir=str(CONF))
        return compose(name, list(overrides), return_hydra_config=True)

    yield composed
    GlobalHydra.instance().clear()


def entry(text, key):
    """The entry of a setting: its value and meaning, in one line."""
    lines = text.splitlines()
    (at,) = [k for k, line in enumerate(lines) if line.startswith(f"{key}=")]
    more = lines[at + 1 :]
    end = next((k for k, line in enumerate(more) if not line.startswith(" " * 36)), len(more))
    return " ".join(" ".join([lines[at], *more[:end]]).split())


@pytest.mark.parametrize("name", [*ENTRY_POINTS])
def test_the_help_of_every_command_fits_its_columns_and_has_no_gaps(composed, name) -> None:
    config = composed(name)
    text = config.hydra.help.template
    assert max(map(len, text.splitlines())) <= 100
    assert f"python -m calib.{name}" in text and "Results: " in text
    assert "\n\n\n" not in text and not text.startswith("\n")
    assert "hydra/" not in text and "???" not in text


def test_an_entry_has_the_value_and_the_meaning_of_its_setting(composed) -> None:
    config = composed("sweep", "method.strengths=[1,2.5]", "seed=3", "out='a b'")
    text = settings_text(config)
    assert entry(text, "seed") == f"seed=3 {meanings(SweepConfig)['seed']}"
    assert entry(text, "out") == f"out=a b {meanings(SweepConfig)['out']}"
    assert entry(text, "method.strengths") == (
        f"method.strengths=[1,2.5] {meanings(Steer)['strengths']}"
    )
    assert entry(text, "model.tiles") == f"model.tiles=false {meanings(ModelConfig)['tiles']}"
    assert entry(text, "method.kl") == f"method.kl=null {meanings(Steer)['kl']}"


def test_the_meaning_of_a_long_setting_is_below_it(composed) -> None:
    setting = "method.strengths=[-6,-4,-2,-1,-0.5,0.5,1,2,4,6]"
    lines = settings_text(composed("sweep", setting)).splitlines()
    at = lines.index(setting)
    assert lines[at + 1].startswith(" " * 36 + meanings(Steer)["strengths"][:40])


def test_a_required_setting_has_no_value(composed) -> None:
    text = entry(settings_text(composed("convert")), "source")
    assert text == f"source=(required) {meanings(ConvertConfig)['source']}"


def test_settings_are_those_of_the_selected_options(composed) -> None:
    text = settings_text(composed("sweep", "method=combine"))
    assert "method.prompt.place=" in text and "method.activation.gate=" in text
    assert "method.rank=" not in text
    assert entry(text, "reference.KEY").endswith("method=caution --help.")
    several = settings_text(composed("sweep", "experiment=all_methods"))
    assert "methods.NAME.KEY=VALUE" in several and "methods.vti" not in several
    assert "reminder, caution, few_shot" in several


def test_groups_are_those_of_the_command_with_the_selected_options(composed) -> None:
    text = groups_text(composed("sweep", "judge=string"))
    keys = [line.partition("=")[0] for line in text.splitlines() if line[:1].islower()]
    assert keys == [
        "model", "method", "method@reference", "data", "utility", "judge", "engine",
            "experiment",
    ]  # fmt: skip
    assert "judge=string " in text and "experiment=null " in text and "    as for method=" in text
    options = " ".join(text.partition("\nmethod=")[2].partition("\nmethod@")[0].split())
    assert options.endswith(", ".join(sorted(path.stem for path in CONF.glob("method/*.yaml"))))
    assert "experiment" not in groups_text(composed("extract"))
    assert groups_text(composed("convert")) == ""
    assert "methods." not in groups_text(composed("sweep", "experiment=vscbench_four"))


def test_control_characters_in_values_are_escaped(composed) -> None:
    config = composed("sweep", "method=reminder")
    config.title = "a \x1b[31m$CONFIG"
    text = config.hydra.help.template
    assert "title=a \\x1b[31m$$CONFIG" in text  # string.Template writes $ as $$
