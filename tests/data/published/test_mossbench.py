"""MOSSBench: benign queries from the repository or the hub, contrasts from the repository."""

import pytest
from raising import raises

from calib.config.data import PublishedData
from calib.data.benchmarks import load_benchmark
from calib.data.example import pairs

TYPES = ("type 1", "type 2", "type 3")


def information(*colours, kinds=TYPES):
    return {
        str(k): {
            "image": f"images/{k}.png",
            "short description": "a card",
            "description": "a coloured card",
            "question": f"What may I fold from card {k}?",
            "pid": str(k),
            "metadata": {"over": kind, "human": 0, "child": 0, "syn": 1, "ocr": 0, "harm": [7]},
        }
        for k, (_, kind) in enumerate(zip(colours, kinds, strict=False), 1)
    }


@pytest.fixture
def clone(tmp_path, write):
    for folder, colours in (("data", ("red", "lime", "blue")), ("data_contrast", ("white",))):
        write(tmp_path / folder / "images_information/information.json", information(*colours))
        for k, name in enumerate(colours, 1):
            write(tmp_path / folder / "images" / f"{k}.png", name)
    return tmp_path


def test_benign_queries_are_safe_and_have_three_stimulus_types(clone, load, colour):
    benchmark = load("mossbench", root=clone)
    assert [(e.id, e.safety, e.category) for e in benchmark.examples] == [
        ("oversensitivity/1", "safe", "exaggerated risk"),
        ("oversensitivity/2", "safe", "negated harm"),
        ("oversensitivity/3", "safe", "counterintuitive interpretation"),
    ]
    assert [colour(e) for e in benchmark.examples] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert benchmark.examples[1].query == "What may I fold from card 2?"
    assert {(e.dataset, e.variant) for e in benchmark.examples} == {("image_centric", "photo")}


def test_by_default_there_is_no_train_split(clone, load):
    assert "train" not in {e.split for e in load("mossbench", root=clone).examples}
    trained = load("mossbench", root=clone, train=1.0, validation=0.0)
    assert {e.split for e in trained.examples} == {"train"}


def test_a_contrast_is_the_twin_with_the_same_pid(clone, load, colour):
    benchmark = load("mossbench", root=clone, subsets=["oversensitivity", "contrast"])
    (pair,) = pairs(benchmark.examples)
    assert (pair.safe.id, pair.unsafe.id) == ("oversensitivity/1", "contrast/1")
    assert pair.safe.split == pair.unsafe.split
    assert colour(pair.unsafe) == (255, 255, 255)


@pytest.mark.parametrize("column", ["image", "decoded_image"])
def test_the_hub_has_benign_queries_with_pictures(load, hub, png, colour, column):
    rows = [{**row, column: png("lime")} for row in information("lime").values()]
    benchmark = load("mossbench", hub=hub({"oversensitivity": {"train": rows}}))
    assert [e.id for e in benchmark.examples] == ["oversensitivity/1"]
    assert colour(benchmark.examples[0]) == (0, 255, 0)


def test_a_hub_table_without_pictures_is_refused(refused, hub):
    folder = hub({"oversensitivity": {"train": list(information("lime").values())}})
    values = ("row 1, column 'image'", "github.com/xirui-li/MOSSBench")
    refused("mossbench", "missing-value", *values, hub=folder)


def test_the_contrasts_are_not_on_the_hub(refused):
    values = ("data.subsets", "contrast", "data.root=FOLDER")
    refused("mossbench", "unsupported", *values, subsets=["contrast"])


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hostname", "images/../../x.png"])
def test_a_picture_outside_the_copy_is_refused(clone, refused, write, name):
    rows = information("red")
    rows["1"]["image"] = name
    write(clone / "data/images_information/information.json", rows)
    refused("mossbench", "invalid-value", "row 1, column 'image'", repr(name), root=clone)


def test_an_unknown_stimulus_is_refused(clone, refused, write):
    write(
        clone / "data/images_information/information.json",
        information("red", kinds=("type 4",)),
    )
    refused("mossbench", "invalid-content", "row 1", "'type 4'", root=clone)


@pytest.mark.parametrize("kinds", [TYPES, TYPES[::-1], ("type 2",) * 3])
def test_a_contrast_with_the_same_picture_is_text_centric_whatever_its_type(
    clone, load, write, kinds
):
    both = {"root": clone, "subsets": ["oversensitivity", "contrast"]}
    for folder, colours in (("data", ("red", "lime", "blue")), ("data_contrast", ("red", "white"))):
        table = information(*colours, kinds=kinds)
        write(clone / folder / "images_information/information.json", table)
    write(clone / "data_contrast/images/1.png", "red")
    write(clone / "data_contrast/images/2.png", "white")
    benchmark = load("mossbench", **both)
    assert {e.id: e.dataset for e in benchmark.examples} == {
        "oversensitivity/1": "text_centric",
        "contrast/1": "text_centric",
        "oversensitivity/2": "image_centric",
        "contrast/2": "image_centric",
        "oversensitivity/3": "image_centric",
    }
    assert any("text-centric" in note and "n=2" in note for note in benchmark.notes)
    assert {e.dataset for e in load("mossbench", root=clone).examples} == {"image_centric"}


def test_a_missing_picture_is_like_no_other(clone, load):
    for folder in ("data", "data_contrast"):
        (clone / folder / "images/1.png").unlink()
    benchmark = load("mossbench", root=clone, subsets=["oversensitivity", "contrast"])
    assert {e.dataset for e in benchmark.examples} == {"image_centric"}


def test_an_empty_picture_cell_of_the_hub_is_refused_or_skipped(hub, png):
    rows = [
        {**row, "image": png("lime") if k else None}
        for k, row in enumerate(information("lime", "red").values())
    ]
    settings = {"hub": hub({"oversensitivity": {"train": rows}}), "subsets": ["oversensitivity"]}
    settings |= {"variants": ["photo"], "train": 0.0}
    with raises("unreadable", "1 of 2 pictures", "data.skip_broken=true"):
        load_benchmark(PublishedData("mossbench", **settings))
    benchmark = load_benchmark(PublishedData("mossbench", skip_broken=True, **settings))
    assert [e.id for e in benchmark.examples] == ["oversensitivity/2"]
