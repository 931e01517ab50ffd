"""Advice on how to read more of a data set names settings and values that this data set has."""

import dataclasses
import re

import pytest
import yaml
from raising import raises

from calib.config.data import DATA, DataConfig, PairsData, PublishedData, PublishedUtility
from calib.config.schemas import CONF
from calib.config.typed import typed_config
from calib.data.benchmarks import how_to_read_more, load_benchmark, load_pairs, load_utility

NAMES = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))


def config(name: str, **settings: object) -> DataConfig:
    values = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    (schema,) = (next(iter(d.values())) for d in values.pop("defaults") if isinstance(d, dict))
    return typed_config([DATA[schema]], values | settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_that_is_advised_exists(name):
    selected = config(name, limit=5)
    advice = how_to_read_more(selected)
    fields = {field.name for field in dataclasses.fields(selected)}
    advised = re.findall(r"data\.(\w+)", advice)
    assert "limit" in advised and set(advised) <= fields
    assert "limit" not in how_to_read_more(config(name, limit=None))


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("mossbench", ["data.subsets (contrast)"], ["data.parts", "data.variants"]),
        ("figstep", ["SafeBench-Tiny", "text_only"], ["data.parts"]),
        (
            "siuo",
            ["data.train=0 data.validation=0.3"],
            ["data.subsets", "data.variants", "data.parts"],
        ),
        ("pairs", ["column split"], ["data.train", "data.parts"]),
        ("vscbench", ["data.parts (image_centric)", "search"], ["data.subsets"]),
        ("mini", ["check the files"], ["data.train", "data.parts"]),
    ],
)
def test_only_values_that_are_not_selected_are_advised(name, present, absent):
    advice = how_to_read_more(config(name, limit=None)).casefold()
    assert all(text.casefold() in advice for text in present)
    assert not any(text in advice for text in absent)


def test_a_column_is_advised_for_tables_only(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("query,safety\nHow?,safe\n", encoding="utf-8")
    with raises("too-few", "column 'pair'"):
        load_pairs(path)
    prompts = tmp_path / "xstest_prompts.csv"
    prompts.write_text("prompt,type,label,focus\nHow?,homonyms,safe,x\n", encoding="utf-8")
    with raises("too-few", "benchmarks.md"):
        load_pairs("xstest", root=str(tmp_path))


def test_the_home_folder_is_expanded_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    table = "query,safety,pair\nHow?,safe,1\nHow not?,unsafe,1\n"
    (tmp_path / "a.csv").write_text(table, encoding="utf-8")
    prompts = "prompt,type,label,focus\nHow?,homonyms,safe,x\n"
    (tmp_path / "xstest_prompts.csv").write_text(prompts, encoding="utf-8")
    assert len(load_pairs("~/a.csv")) == 1
    pairs = PairsData(file="~/a.csv", root="~")
    for data in (pairs, PublishedData(name="xstest", root="~", variants=["text_only"])):
        assert load_benchmark(data).examples
    with raises("not-found", "~/none"):
        load_utility(PublishedUtility(name="mme", root="~/none"))
    for unknown in ("~nobody-of-this-name", "~nobody-of-this-name/a.csv"):
        with raises("not-found", unknown):
            load_benchmark(PairsData(file=unknown))
