"""utility=auto: the model's own world, a published set that is there, or no questions."""

import pytest
from composing import composed

from calib.config.data import PublishedUtility, UtilityConfig


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The hub's cache of this machine, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def download(cache, dataset):
    """Put a file of a dataset into the cache, as the hub's client does."""
    folder = cache / f"datasets--{dataset.replace('/', '--')}" / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    (folder / "test-00000.parquet").touch()


def chosen(*overrides, command="sweep"):
    return composed(command, *overrides).utility


def test_an_included_model_gets_the_questions_of_its_world(cache):
    download(cache, "Lin-Chen/MMStar")
    for command in ("sweep", "plan", "extract"):
        assert chosen(command=command) == UtilityConfig("mini", 300)
    assert chosen("utility.limit=5") == UtilityConfig("mini", 5)


def test_another_model_gets_a_published_set_that_was_downloaded(cache):
    published = "model.checkpoint=Org/Model"
    assert chosen(published) == chosen(published, "utility=none") == UtilityConfig("none")
    (cache / "datasets--lmms-lab-encoder--MME" / "snapshots").mkdir(parents=True)  # interrupted
    assert chosen(published) == UtilityConfig("none")
    download(cache, "Lin-Chen/MMStar")
    assert chosen(published, "utility.limit=7") == chosen(
        published, "utility=mmstar", "utility.limit=7"
    )
    assert isinstance(chosen(published), PublishedUtility)
    assert chosen("model=gpt").name == "mmstar"


def test_a_set_that_is_named_stays(cache):
    download(cache, "Lin-Chen/MMStar")
    assert chosen("model.checkpoint=Org/Model", "utility=mini").name == "mini"
    assert chosen("model.checkpoint=Org/Model", "utility=none").name == "none"
