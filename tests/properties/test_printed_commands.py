"""Commands that calib prints give the shell, and Hydra, the text that they were made from."""

import shlex

import torch
from composing import composed
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from property_profiles import share
from property_strategies import SIGNS, printable_texts, texts

from calib.config.quoting import override, quote_values, shell_override
from calib.directions.direction import Direction
from calib.interchange.writing import merged_usage
from calib.report.card import command_line

PARSER = OverridesParser.create()
LIKE_VALUES = st.sampled_from(
    ["null", "True", "1", "1e5", "1_0", "-1", "nan", "Infinity", "[a]", "{a: 1}", "a,b", "${x}",
     "\\${x}", "a\\", "a\\\\", "\\'", '\\"', "'a'", '"a"', "a b", " a", "a ", "", "glob(*)", "~/a",
     "a=b", "~", "..", "x\\\\${y}"],
)  # fmt: skip


def value_of(argument):
    """The text that Hydra and OmegaConf read from an override."""
    (parsed,) = PARSER.parse_overrides([quote_values(argument)])
    return OmegaConf.create({"x": parsed.value()}).x


@given(texts | printable_texts | LIKE_VALUES)
@share(5)
def test_an_override_sets_any_text(text):
    assert value_of(override("out", text)) == text
    (argument,) = shlex.split(shell_override("out", text))
    assert value_of(argument) == text


def direction(**changes):
    one = torch.ones(1)
    return Direction(torch.eye(1), one, one, one, [3], "c", None, "f", **changes)


PATHS = (printable_texts | LIKE_VALUES | st.text(SIGNS)).filter(
    lambda text: text.isprintable() and text.strip() and "\ufeff" not in text
)


@given(PATHS, st.sampled_from(["response", "all"]), st.floats(-9, 9))
@share(0.15)
def test_the_command_of_a_card_steers_with_its_file(file, positions, strength):
    command = command_line(direction(positions=positions, strength=strength), file)
    python, m, module, *overrides = shlex.split(command)
    assert (python, m, module) == ("python", "-m", "calib.sweep")
    config = composed("sweep", *map(quote_values, overrides))
    assert (config.method.direction, config.method.positions) == (file, positions)
    assert config.method.layers == [3]


@given(PATHS)
@share(2)
def test_the_commands_of_a_merged_checkpoint_name_its_folder(folder):
    serve, sweep = merged_usage(folder).split("\n")
    assert shlex.split(serve) == ["vllm", "serve", folder]
    *_, argument = shlex.split(sweep)
    assert argument.startswith("model.checkpoint=") and value_of(argument) == folder
