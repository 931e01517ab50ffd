"""Finding a benchmark by its name, and the settings that do not go with it."""

import pickle

import pytest

from calib.config.data import PublishedData
from calib.config.schemas import CONF
from calib.data import published
from calib.data.benchmarks import load_benchmark
from calib.util.errors import CalibError


def test_every_benchmark_has_a_yaml_of_its_name_that_composes():
    from composing import composed

    for name in published.names():
        data = composed("sweep", f"data={name}").data
        assert isinstance(data, PublishedData) and data.name == name
        assert (data.hub is None) == (name == "figstep")
        assert (CONF / "data" / f"{name}.yaml").is_file()
    assert len(published.names()) == 8


def test_a_name_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(CalibError, match="no published benchmark. Did you mean 'xstest'"):
        published.load(PublishedData("xtest"))
    with pytest.raises(CalibError, match="no published benchmark"):
        published.load(PublishedData("copies"))


def test_a_query_is_refused_where_the_benchmark_asks_its_own(refusal):
    assert "data.query has no meaning for data=siuo" in refusal("siuo", query="What?")
    with pytest.raises(CalibError, match="data.query is empty"):
        PublishedData("figstep", query=" ")


def test_subsets_are_refused_where_there_are_none(refusal):
    assert "this benchmark has none" in refusal("xstest", subsets=["train"])


def test_a_repeated_subset_is_read_once(tmp_path, load, write):
    write(tmp_path / "or-bench-toxic.csv", [{"prompt": "Spoil a cake.", "category": "food"}])
    names = ["or-bench-toxic", "or-bench-toxic"]
    assert len(load("or_bench", root=tmp_path, subsets=names).examples) == 1


def test_a_root_that_is_no_folder_is_refused(tmp_path, refusal):
    assert "is not a folder" in refusal("xstest", root=tmp_path / "nowhere")


def test_an_id_that_cannot_be_reached_is_refused_with_the_remedy(refusal):
    message = refusal("xstest", hub="someone/nothing")
    assert "someone/nothing, split train cannot be read from the hub" in message
    assert "data.root=FOLDER" in message


@pytest.fixture
def prompts(tmp_path, write):
    rows = [{"prompt": f"Task {k}", "category": "c"} for k in range(40)]
    write(tmp_path / "or-bench-toxic.csv", rows)
    return {"root": str(tmp_path), "subsets": ["or-bench-toxic"], "variants": ["text_only"]}


def test_load_benchmark_limits_and_refuses_an_empty_selection(tmp_path, prompts, write):
    whole = load_benchmark(PublishedData("or_bench", **prompts))
    few = load_benchmark(PublishedData("or_bench", limit=2, **prompts))
    assert len(whole.examples) == 40
    assert [sum(e.split == s for e in few.examples) for s in ("train", "validation", "test")] == [
        *(2, 2, 2),
    ]
    write(tmp_path / "or-bench-toxic.csv", [{"prompt": "", "category": "c"}])
    with pytest.raises(CalibError, match="has no examples.*empty 'prompt'"):
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
    with pytest.raises(CalibError, match="1 of 3 pictures cannot be read"):
        load_benchmark(PublishedData("siuo", **settings))
    bench = load_benchmark(PublishedData("siuo", skip_broken=True, **settings))
    assert len(bench.examples) == 2 and "1 of 3 examples were left out" in bench.notes[-1]


def test_the_system_prompt_reaches_every_example(prompts):
    bench = published.load(PublishedData("or_bench", system="Be kind.", **prompts))
    assert {e.system for e in bench.examples} == {"Be kind."}


def test_examples_of_the_hub_can_be_pickled(load, hub, png, colour):
    rows = [{"pid": "1", "question": "What?", "image": png("lime"), "metadata": {"over": "type 1"}}]
    bench = load("mossbench", hub=hub({"oversensitivity": {"train": rows}}))
    assert colour(pickle.loads(pickle.dumps(bench)).examples[0]) == (0, 255, 0)
