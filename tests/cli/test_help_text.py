"""What --help shows of a composed configuration: groups, settings, meanings, in 100 columns."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from calib.cli.command import CONF
from calib.cli.help import groups_text, register_help, settings_text
from calib.config.schemas import ENTRY_POINTS, register


@pytest.fixture
def composed():
    """The configuration of a command, with Hydra's own part."""
    register()
    register_help()

    def composed(name, *overrides):
        GlobalHydra.instance().clear()
        initialize_config_dir(version_base="1.3", config_dir=str(CONF))
        return compose(name, list(overrides), return_hydra_config=True)

    yield composed
    GlobalHydra.instance().clear()


def entry(text, key):
    """What stands for a setting: its value, and its meaning in one line."""
    lines = text.splitlines()
    (at,) = [k for k, line in enumerate(lines) if line.startswith(f"{key}=")]
    more = lines[at + 1 :]
    end = next((k for k, line in enumerate(more) if not line.startswith(" " * 36)), len(more))
    return " ".join(" ".join([lines[at], *more[:end]]).split())


@pytest.mark.parametrize("name", [*ENTRY_POINTS])
def test_every_command_keeps_to_its_columns_and_has_no_holes(composed, name) -> None:
    config = composed(name)
    whole = config.hydra.help.template
    assert max(map(len, whole.splitlines())) <= 100
    assert f"python -m calib.{name}" in whole and "Results: " in whole
    assert "\n\n\n" not in whole and not whole.startswith("\n")
    assert "hydra/" not in whole and "???" not in whole


def test_settings_have_value_and_meaning_beside_or_beneath(composed) -> None:
    text = settings_text(composed("sweep", "method.strengths=[1,2.5]", "seed=3", "out='a b'"))
    assert entry(text, "seed").startswith("seed=3 Jitter of the mini world's pictures, and the")
    assert entry(text, "out").startswith("out=a b Folder of the run")
    assert entry(text, "method.strengths").startswith("method.strengths=[1,2.5] 1.0 moves an")
    assert entry(text, "model.tiles").startswith("model.tiles=false Cut large pictures into tiles")
    assert entry(text, "method.kl").startswith("method.kl=null In place of strengths")
    long = settings_text(composed("sweep")).splitlines()
    at = long.index("method.strengths=[-6,-4,-2,-1,-0.5,0.5,1,2,4,6]")
    assert long[at + 1].startswith(" " * 36 + "1.0 moves")  # too long to stand beside it


def test_what_must_be_given_is_said_to_be(composed) -> None:
    assert entry(settings_text(composed("convert")), "source").startswith(
        "source=(must be given) Folder or hub id"
    )


def test_settings_are_those_of_what_is_chosen(composed) -> None:
    text = settings_text(composed("sweep", "method=combine"))
    assert "method.prompt.place=" in text and "method.activation.gate=" in text
    assert "method.rank=" not in text
    assert entry(text, "reference.KEY").endswith("Its settings: method=caution --help.")
    several = settings_text(composed("sweep", "experiment=all_methods"))
    assert "methods.NAME.KEY=VALUE" in several and "methods.vti" not in several
    assert "Settings of reminder, caution" in several


def test_groups_are_those_of_the_command_with_what_is_chosen(composed) -> None:
    text = groups_text(composed("sweep", "judge=string"))
    keys = [line.partition("=")[0] for line in text.splitlines() if line[:1].islower()]
    assert keys == [
        "model", "method", "method@reference", "data", "utility", "judge", "experiment",
    ]  # fmt: skip
    assert "judge=string " in text and "experiment=null " in text and "    as method=" in text
    options = " ".join(text.partition("\nmethod=")[2].partition("\nmethod@")[0].split())
    assert options.endswith(", ".join(sorted(path.stem for path in CONF.glob("method/*.yaml"))))
    assert "experiment" not in groups_text(composed("extract"))
    assert groups_text(composed("convert")) == ""
    assert "methods." not in groups_text(composed("sweep", "experiment=vscbench_four"))


def test_values_of_others_are_shown_not_obeyed(composed) -> None:
    config = composed("sweep", "method=reminder")
    config.title = "a \x1b[31m$CONFIG"
    text = config.hydra.help.template
    assert "title=a \\x1b[31m$$CONFIG" in text  # $$ is how string.Template writes $
