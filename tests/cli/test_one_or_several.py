"""Settings that may be given once or several times."""

import pytest

from calib.cli.one_or_several import as_list, current_runs
from calib.config.commands import ExportConfig, PlotConfig, ReportConfig, ServeConfig
from calib.config.judge import JudgeRunConfig
from calib.config.sweep import SweepConfig


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("method.strengths=2", "method.strengths=[2]"),
        ("method.strengths=[1,2]", "method.strengths=[1,2]"),
        ("method.strengths=1,2", "method.strengths=1,2"),
        ("data.parts=dual_use", "data.parts=[dual_use]"),
        ("method.strengths=null", "method.strengths=null"),
        ("out=a", "out=a"),
        ("seed=1", "seed=1"),
        ("method=steer", "method=steer"),
        ("nothing=1", "nothing=1"),
    ],
)
def test_a_single_value_of_a_list_is_written_as_a_list(argument, written):
    assert as_list(argument, SweepConfig) == written


@pytest.mark.parametrize("schema", [ReportConfig, PlotConfig])
@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("run=a", "runs=[a]"), ("runs=a", "runs=[a]"), ("run=[a,b]", "runs=[a,b]"),
        ("+run=a", "+runs=[a]"), ("run='a b'", "runs=['a b']"), ("run", "run"),
        ("run='a, b'", "runs=['a, b']"), ("run='a','b'", "runs='a','b'"),
        ("out=run=a", "out=run=a"),
    ],
)  # fmt: skip
def test_one_run_where_several_are_meant(argument, written, schema):
    assert as_list(current_runs(argument, schema), schema) == written


@pytest.mark.parametrize("schema", [ExportConfig, JudgeRunConfig, ServeConfig])
@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("runs=a", "run=a"), ("run=a", "run=a"), ("runs=[a]", "run=a"), ("runs=", "run="),
        ("runs=['a b']", "run='a b'"), ("runs=[a,b]", "run=[a,b]"),
        ("runs=['a, b']", "run='a, b'"), ("runs=['a','b']", "run=['a','b']"), ("runs=[]", "run=[]"),
    ],
)  # fmt: skip
def test_a_list_of_one_run_where_one_is_meant(argument, written, schema):
    assert as_list(current_runs(argument, schema), schema) == written


def test_commands_without_runs_have_neither_name():
    assert current_runs("run=a", SweepConfig) == "run=a"
