"""Every wrong call of the library is a CalibError that says what was given."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from raising import raises

import calib
from calib.api.model import Model
from calib.directions.direction import Direction


@pytest.fixture(scope="module")
def model(vlm):
    return Model(vlm)


@pytest.fixture(scope="module")
def direction(vlm):
    layers = vlm.num_layers
    return Direction(
        vectors=torch.eye(layers, vlm.width), gap=torch.ones(layers), midpoint=torch.zeros(layers),
        norm=torch.ones(layers), layers=list(range(layers)), checkpoint=vlm.checkpoint,
        revision=None, fingerprint=vlm.fingerprint,
    )  # fmt: skip


MESSAGE = {"role": "user", "content": "Hello"}
EXAMPLE = calib.Example("a", "text_centric", "none", "none", "test", "Hello")
PAIR = calib.Pair("a", EXAMPLE, EXAMPLE)
CALLS = {
    "a tuple instead of a pair": (lambda m, d: calib.fit(m, [("a", "b")]), "tuple"),
    "one list": (lambda m, d: calib.fit(m, ["a", "b"]), "one side"),
    "one array": (lambda m, d: calib.fit(m, np.zeros((2, 6, 128))), "one side"),
    "no pairs at all": (lambda m, d: calib.fit(m, 3), "int"),
    "None for pairs": (lambda m, d: calib.fit(m, None), "NoneType"),
    "one pair": (lambda m, d: calib.fit(m, PAIR), "Pair"),
    "a model of transformers": (lambda m, d: calib.fit(m.vlm.model, "pairs.csv"), "InternVL"),
    "a name for a model": (lambda m, d: calib.fit("internvl", [PAIR]), "str"),
    "a number among texts": (lambda m, d: calib.fit(m, ["a", 3], ["b"]), "int"),
    "one text for a side": (lambda m, d: calib.fit(m, "a", ["b"]), "str"),
    "one text for the other": (lambda m, d: calib.fit(m, ["a"], "b"), "str"),
    "an empty side": (lambda m, d: calib.fit(m, ["a"], []), "empty"),
    "pairs on one side": (lambda m, d: calib.fit(m, [PAIR], [PAIR]), "Pair"),
    "a template without a place": (
        lambda m, d: calib.fit(m, ["a"], ["b"], template="x"), "'x'"),
    "sides of other length": (lambda m, d: calib.fit(m, ["a"], ["b", "c"], paired=True), 2),
    "a word for paired": (lambda m, d: calib.fit(m, ["a"], ["b"], paired="yes"), "'yes'"),
    "paired pairs": (lambda m, d: calib.fit(m, [PAIR], paired=True), "paired"),
    "activations of one layer": (
        lambda m, d: calib.fit(m, np.zeros((2, 128)), np.ones((2, 128))), "[2, 128]"),
    "activations of other layers": (
        lambda m, d: calib.fit(m, np.zeros((2, 5, 128)), np.ones((2, 5, 128))), "[2, 5, 128]"),
    "activations with nan": (
        lambda m, d: calib.fit(m, np.full((2, 6, 128), np.nan), np.ones((2, 6, 128))), "finite"),
    "activations against texts": (
        lambda m, d: calib.fit(m, np.zeros((2, 6, 128)), ["a"]), "negative"),
    "a share in words": (lambda m, d: calib.fit(m, [PAIR], held_out="1"), "'1'"),
    "a number as estimator": (lambda m, d: calib.fit(m, [PAIR], estimator=3), 3),
    "a number as positions": (lambda m, d: calib.fit(m, [PAIR], positions=3), 3),
    "a number as contrast": (lambda m, d: calib.fit(m, [PAIR], contrast=3), 3),
    "a list as site": (lambda m, d: calib.fit(m, [PAIR], site=["mlp"]), "mlp"),
    "messages": (lambda m, d: m.generate([MESSAGE]), "chat"),
    "a message": (lambda m, d: m.generate(MESSAGE), "dict"),
    "a pair as query": (lambda m, d: m.generate(PAIR), "pair.safe"),
    "no query": (lambda m, d: m.generate(None), "NoneType"),
    "one query of several": (lambda m, d: m.generate_all("a"), "str"),
    "pictures without a list": (lambda m, d: m.generate_all(["a"], 3), "int"),
    "an array as picture": (lambda m, d: m.generate("a", np.zeros((4, 4, 3))), "numpy"),
    "a number in a list of pictures": (lambda m, d: m.generate("a", [3]), "int"),
    "a picture of an example": (lambda m, d: m.generate(EXAMPLE, "a.png"), "own pictures"),
    "three values": (lambda m, d: m.generate(("a", None, None)), 3),
    "a length in words": (lambda m, d: m.generate("a", max_new_tokens="many"), "many"),
    "no tokens": (lambda m, d: m.generate("a", max_new_tokens=0), 0),
    "a negative temperature": (lambda m, d: m.generate("a", temperature=-1), -1),
    "a seed in words": (lambda m, d: m.generate("a", seed="a"), "'a'"),
    "a number as system prompt": (lambda m, d: m.generate("a", system=3), "int"),
    "one text to read": (lambda m, d: m.read("a"), "str"),
    "a number to read": (lambda m, d: m.read([3]), "int"),
    "a number as site to read": (lambda m, d: m.read(["a"], site=3), 3),
    "one text to project": (lambda m, d: m.project(d, "a"), "str"),
    "an array as direction": (lambda m, d: m.project(d.vectors, ["a"]), "Tensor"),
    "a path as direction": (lambda m, d: m.project("d.safetensors", ["a"]), "str"),
    "steering along an array": (lambda m, d: m.steer(d.vectors).__enter__(), "Tensor"),
    "a strength in words": (lambda m, d: m.steer(d, "a", 3).__enter__(), "'a'"),
    "an infinite strength": (lambda m, d: m.steer(d, float("inf"), 3).__enter__(), "inf"),
    "a layer in words": (lambda m, d: m.steer(d, 1, "all").__enter__(), "'all'"),
    "no layers": (lambda m, d: m.steer(d, 1, []).__enter__(), "[]"),
    "other positions": (lambda m, d: m.steer(d, 1, 3, "last").__enter__(), "last"),
    "another operator": (lambda m, d: m.steer(d, 1, 3, operator="addd").__enter__(), "'add'"),
    "an unknown method": (lambda m, d: m.calibrated("reminders"), "'reminder'"),
    "a number as method": (lambda m, d: m.calibrated(3), 3),
    "a method without pairs": (lambda m, d: m.calibrated("scans"), "scans"),
    "an unknown setting": (lambda m, d: m.calibrated("reminder", plaice="user"), "method.place"),
    "a wrong setting": (lambda m, d: m.calibrated("reminder", place="here"), "here"),
    "a variant that is none": (lambda m, d: m.calibrated("reminder", strength=99), 99),
    "a layer of a prompt": (lambda m, d: m.calibrated("reminder", layer=2), "reminder"),
    "an unknown judge": (lambda m, d: m.calibrated("steer", [PAIR], judge="jury"), "jury"),
    "a sweep of nothing": (lambda m, d: m.sweep("steering"), "'steer'"),
    "a sweep over a number": (lambda m, d: m.sweep("steer", 3), "int"),
    "a sweep with a list of settings": (
        lambda m, d: m.sweep("steer", settings=["data.limit=3"]), "data.limit=3"),
    "a sweep with another model": (
        lambda m, d: m.sweep("steer", settings={"model.dtype": "float16"}), "model.dtype"),
    "a sweep with an unknown setting": (
        lambda m, d: m.sweep("steer", settings={"data.limits": 3}), "data.limits"),
    "a sweep with a setting of another kind": (
        lambda m, d: m.sweep("steer", settings={"data.limit": "few"}), "few"),
    "an unknown utility": (lambda m, d: m.sweep("steer", utility="minni"), "minni"),
    "a loaded model to load": (lambda m, d: calib.load(m.vlm.model), "calib.wrap"),
    "a number to load": (lambda m, d: calib.load(3), 3),
    "no name to load": (lambda m, d: calib.load(""), "internvl"),
    "a name to wrap": (lambda m, d: calib.wrap("internvl"), "calib.load"),
    "a tokenizer": (lambda m, d: calib.wrap(m.vlm.model, m.vlm.processor.tokenizer), "Tokenizer"),
    "a dtype to wrap": (
        lambda m, d: calib.wrap(m.vlm.model, m.vlm.processor, dtype="float16"), "dtype"),
    "a figure of a number": (lambda m, d: calib.draw("layers", 3), "int"),
    "a figure of nothing": (lambda m, d: calib.draw("layers"), "draw"),
    "a figure without held-out pairs": (lambda m, d: calib.draw("layers", d), "held-out"),
    "a direction as figure": (lambda m, d: calib.draw(d), "Direction"),
    "an option of no figure": (lambda m, d: calib.draw("layers", d, color="red"), "color"),
    "a list of columns": (lambda m, d: calib.draw("layers", d, columns=[1]), "[1]"),
    "a direction for a path": (lambda m, d: calib.write_direction(d, "d.safetensors"), "str"),
    "a number for a path": (lambda m, d: calib.read_direction(3), 3),
    "a layer that is none": (lambda m, d: d.at("3", 1.0), "3"),
    "layers that are none": (lambda m, d: d.select_layers(["3"]), "3"),
    "a strength that is none": (lambda m, d: d.at(3, "x"), "'x'"),
    "a word of layers to select": (lambda m, d: d.select_layers("3"), "'3'"),
    "one word as layers to fit": (lambda m, d: calib.fit(m, ["a"], ["b"], layers="all"), "'all'"),
    "a dtype of torch": (lambda m, d: calib.load(dtype=torch.float16), "torch.float16"),
    "a direction as setting": (
        lambda m, d: m.calibrated("steer", [PAIR], direction=d), "method.direction"),
    "a strength of a method in words": (lambda m, d: m.calibrated("caution").at("x"), "'x'"),
    "another layer of a method": (lambda m, d: m.calibrated("caution").at(layer=9), 9),
    "no methods": (lambda m, d: m.sweep([]), "methods"),
    "a number of methods": (lambda m, d: m.sweep(3), "int"),
    "no queries at all": (lambda m, d: m.generate_all(None), "NoneType"),
    "an empty path": (lambda m, d: calib.read_direction(""), "''"),
    "a run of a number": (lambda m, d: calib.Run(3), 3),
    "a number of pairs": (lambda m, d: calib.load_pairs(3), 3),
    "a number as split": (lambda m, d: calib.load_pairs("mini", 3), 3),
    "a misspelt benchmark": (lambda m, d: calib.load_pairs("mni"), "'mini'"),
    "a benchmark to fit": (lambda m, d: calib.fit(m, "mini"), "load_pairs('mini', 'train')"),
    "a table to fit": (lambda m, d: calib.fit(m, pd.DataFrame({"query": ["a"]})), "DataFrame"),
    "a table to answer": (
        lambda m, d: m.generate_all(pd.DataFrame({"query": ["a"]})), "table['query']"),
    "half a layer": (lambda m, d: m.calibrated("caution").at(layer=2.5), 2.5),
    "a direction divided by 0": (lambda m, d: d / 0, "divided by 0"),
    "a direction and a number": (lambda m, d: sum([d, 1]), "is 1"),
    "a calibrated model of a steered one": (
        lambda m, d: m.steer(d, 0, 3).calibrated("reminder"), "steered"),
    "a setting of one of several methods": (
        lambda m, d: m.sweep(["steer", "astra"], settings={"method.layers": 3}),
        "'methods.steer.layers'"),
    "a method among settings": (
        lambda m, d: m.sweep("steer", settings={"method": "none"}), "arguments of sweep"),
    "a setting in words of the command": (
        lambda m, d: m.sweep("steer", utility="none", settings={"method.kl": 0.1}), "In Python"),
    "an empty folder": (lambda m, d: m.sweep("steer", out=""), "out"),
    "a pair of texts": (lambda m, d: calib.fit(m, [calib.Pair("a", "b", "c")]), "safe is 'b'"),
    "an example of a number": (
        lambda m, d: m.generate(replace(EXAMPLE, query=3)), "query is 3, not str"),
    "an example with a path": (
        lambda m, d: m.generate(replace(EXAMPLE, picture="a.png")), "picture is 'a.png'"),
    "a direction made of arrays": (
        lambda m, d: m.steer(replace(d, vectors=np.eye(6)), 1, 3), "vectors is a value of type"),
    "a direction of other length": (lambda m, d: m.steer(replace(d, gap=d.gap[:2]), 1), "6 layers"),
    "an empty picture": (lambda m, d: m.generate("a", ""), "empty"),
    "an address as picture": (lambda m, d: m.generate("a", "https://a.b/c.png"), "https://a.b"),
    "several benchmarks": (lambda m, d: calib.load_pairs(["mini"]), "list"),
    "an unknown setting of data": (lambda m, d: calib.load_pairs("mini", limits=3), "'mini' has"),
    "a number as run": (lambda m, d: calib.Run.load(3), 3),
}  # fmt: skip


@pytest.mark.parametrize("call, value", CALLS.values(), ids=CALLS)
def test_a_wrong_call_says_what_was_given(model, direction, call, value):
    with pytest.raises(calib.CalibError) as error:
        call(model, direction)
    assert str(value) in str(error.value)
    assert not model._edits


def test_errors_have_stable_codes(model):
    with raises("invalid-value", "dict"):
        model.generate(MESSAGE)
    with raises("unknown-setting", "'method.place'"):
        model.calibrated("reminder", plaice="user")


@pytest.mark.parametrize("name, hint", [
    ("set_control", "vlm.steer"), ("run_with_cache", "vlm.read"), ("calibrate", "'calibrated'"),
    ("anything_else", "anything_else"),
])  # fmt: skip
def test_names_of_other_libraries_are_attribute_errors_with_a_hint(model, name, hint):
    with pytest.raises(AttributeError) as error:
        getattr(model, name)
    assert hint in str(error.value)
    for function, other in (("HookedTransformer", "calib.load"), ("load_pair", "'load_pairs'")):
        with pytest.raises(AttributeError) as error:
            getattr(calib, function)
        assert other in str(error.value)
