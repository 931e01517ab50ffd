"""The command in a run's record composes the settings of the run."""

import shlex

import pytest
from composing import composed
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from calib.cli.repeating import repeating_command
from calib.config.schemas import CONF, register


@pytest.fixture
def job():
    """Start a job of a command, as far as Hydra knows."""

    def started(name, *overrides):
        register()
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            HydraConfig.instance().set_config(
                compose(name, list(overrides), return_hydra_config=True)
            )

    before = HydraConfig.instance().cfg
    yield started
    HydraConfig.instance().cfg = before


def test_the_command_has_the_settings_and_no_places(job):
    given = ["method=none", "~method@reference", "title='a \"b c'", "data.limit=12"]
    job("sweep", *given, "out=/home/me/runs/x", "shard=1/2", "shard_wait=5", "hydra/launcher=basic")
    python, m, module, *overrides = shlex.split(repeating_command())
    assert (python, m, module) == ("python", "-m", "calib.sweep")
    assert overrides == given
    assert composed("sweep", *(text for text in overrides if text[0] != "~")).data.limit == 12


def test_tables_in_the_command_have_no_places(job):
    kept = ["engine=vllm", "method={layers: [1]}", "++extra={out: a}"]
    table = "engine={base_url: 'http://gpu-17.lab:8000', extra: {a: 'b c'}, retries: 3}"
    only_places = ["engine={base_url: [http://gpu-18.lab, http://gpu-19.lab]}"]
    job("sweep", "method=steer", *kept, table, *only_places)
    *_, reduced = overrides = shlex.split(repeating_command())[4:]
    assert overrides == [*kept, reduced]
    settings = composed("sweep", "method=steer", "engine=vllm", reduced).engine
    assert (settings.base_url, settings.extra, settings.retries) == (None, {"a": "b c"}, 3)


def test_the_command_has_no_key(job, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sesame-open-1234")
    job("extract", "data.limit=5", "+title=xsesame-open-1234")
    assert "sesame" not in repeating_command() and "MY_API_KEY" in repeating_command()


def test_a_run_from_python_has_no_command(job):
    HydraConfig.instance().cfg = None
    assert repeating_command() is None
