"""Quoting values on the command line that Hydra's grammar cannot read."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from calib.config.quoting import quote_values, unreadable_character

PARSER = OverridesParser.create()


def value(argument: str) -> object:
    (override,) = PARSER.parse_overrides([quote_values(argument)])
    return override.value()


@pytest.mark.parametrize(
    "text",
    ["/tmp/daté", "~/pictures", "a#b", "a;b & c!", "日本", "C:\\é\\", "<x>", "a\nb", "a^b", " é"],
)
def test_a_value_that_hydra_cannot_read_is_quoted(text):
    with pytest.raises(HydraException):
        PARSER.parse_overrides([f"data.root={text}"])
    assert value(f"data.root={text}") == text.strip()


def test_the_values_of_a_list_are_quoted_one_by_one():
    assert value("runs=[~/a,b,é]") == ["~/a", "b", "é"]
    assert value("runs=[~/a, 1]") == ["~/a", 1]


@pytest.mark.parametrize(
    "argument",
    ["a=/tmp/x", "a=1", "a=x y", "a=$HOME", "a=${b}", "a='~/x'", "a={b: 1}", "a=", "a=[1,2]",
     "a=glob(*)", "a=it's", "a=b=é", "--config-dir=/tmp/é", "method=steer", "a=null"],
)  # fmt: skip
def test_other_values_stay_as_they_are(argument):
    assert quote_values(argument) == argument


@pytest.mark.parametrize(
    ("override", "character"),
    [
        ("a=it's", "'"),
        ("a=b(é)", "é"),
        ('a="daté"', None),
        ("a='~'b#", "#"),
        ("dâta.root=x", "â"),
        ("a=[1,2]", None),
    ],
)
def test_the_first_character_that_cannot_be_read(override, character):
    assert unreadable_character(override) == character
