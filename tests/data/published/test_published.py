"""Discovery of benchmarks by name, and settings that a benchmark does not have."""

import pickle

import pytest
from raising import raises

from calib.config.data import PublishedData
from calib.config.schemas import CONF
from calib.data import published
from calib.data.benchmarks import load_benchmark


def test_every_benchmark_has_a_config_with_its_name():
    from composing import composed

    for name in published.names():
        data = composed("sweep", f"data={name}").data
        assert isinstance(data, PublishedData) and data.name == name
        if data.hub is None:
            with raises("missing-setting", f"data={name}", "data.root=FOLDER"):
                published.load(data)
        assert (CONF / "data" / f"{name}.yaml").is_file()


def test_an_unknown_name_is_reported_with_the_nearest():
    with raises("unknown-name", "data=xtest", "'xstest'?"):
        published.load(PublishedData("xtest"))
    with raises("unknown-name", "data=copies"):
        published.load(PublishedData("copies"))


def test_a_query_is_refused_if_the_benchmark_has_its_own(refused):
    refused("siuo", "conflicting-settings", "data.query", "data=siuo", query="What?")
    with raises("invalid-setting", "data.query"):
        PublishedData("figstep", query=" ")


def test_subsets_are_refused_if_the_benchmark_has_none(refused):
    refused("xstest", "conflicting-settings", "data.subsets", "train", subsets=["train"])


def test_a_repeated_subset_is_read_once(tmp_path, load, write):
    write(tmp_path / "or-bench-toxic.csv", [{"prompt": "Spoil a cake.", "category": "food"}])
    names = ["or-bench-toxic", "or-bench-toxic"]
    assert len(load("or_bench", root=tmp_path, subsets=names).examples) == 1


def test_a_root_that_is_not_a_folder_is_refused(tmp_path, refused):
    root = tmp_path / "nowhere"
    refused("xstest", "not-found", f"data.root={root}", root=root)


def test_an_unavailable_dataset_is_refused(refused):
    values = ("someone/nothing, split train", "data.root=FOLDER")
    refused("xstest", "endpoint", *values, hub="someone/nothing")


@pytest.fixture
def prompts(tmp_path, write):
    rows = [{"prompt": f"Task {k}", "category": "c"} for k in range(40)]
    write(tmp_path / "or-bench-toxic.csv", rows)
    return {"root": str(tmp_path), "subsets": ["or-bench-toxic"], "variants": ["text_only"]}


def test_load_benchmark_limits_and_refuses_an_empty_selection(tmp_path, prompts, write):
    everything = load_benchmark(PublishedData("or_bench", **prompts))
    limited = load_benchmark(PublishedData("or_bench", limit=2, **prompts))
    assert len(everything.examples) == 40
    assert [
        sum(e.split == s for e in limited.examples) for s in ("train", "validation", "test")
    ] == [
        *(2, 2, 2),
    ]
    write(tmp_path / "or-bench-toxic.csv", [{"prompt": "", "category": "c"}])
    with raises("too-few", "data=or_bench", "'prompt'"):
        load_benchmark(PublishedData("or_bench", **prompts))


def test_broken_pictures_are_refused_or_skipped(tmp_path, write):
    rows = [
        {"question_id": k, "image": f"{k}.png", "question": "What?", "category": "c"}
        for k in range(3)
    ]
    write(tmp_path / "siuo_gen.json", rows)
    for k in range(2):
        write(tmp_path / "images" / f"{k}.png", "red")
    settings = {"root": str(tmp_path), "subsets": ["siuo_gen"], "variants": ["photo"]}
    with raises("unreadable", "1 of 3"):
        load_benchmark(PublishedData("siuo", **settings))
    benchmark = load_benchmark(PublishedData("siuo", skip_broken=True, **settings))
    assert len(benchmark.examples) == 2 and "1 of 3 examples" in benchmark.notes[-1]


def test_the_system_prompt_reaches_every_example(prompts):
    benchmark = published.load(PublishedData("or_bench", system="Be kind.", **prompts))
    assert {e.system for e in benchmark.examples} == {"Be kind."}


def test_examples_of_the_hub_can_be_pickled(load, hub, png, colour):
    rows = [{"pid": "1", "question": "What?", "image": png("lime"), "metadata": {"over": "type 1"}}]
    benchmark = load("mossbench", hub=hub({"oversensitivity": {"train": rows}}))
    assert colour(pickle.loads(pickle.dumps(benchmark)).examples[0]) == (0, 255, 0)
