"""The library: the same results as the engine and the commands, and coded errors."""

import csv
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from composing import composed
from in_process import command, undrawn
from PIL import Image
from raising import raises

import calib
from calib.api import Model
from calib.config.steering import Steer
from calib.data.example import pairs
from calib.data.mini.examples import load as mini
from calib.engine.edits import Edit
from calib.engine.engine import Engine
from calib.engine.operators import Add
from calib.engine.request import Decoding, Request


@pytest.fixture(scope="module")
def model(vlm):
    return Model(vlm)


@pytest.fixture(scope="module")
def twins():
    loaded = pairs(mini(["image_centric", "text_centric"], limit=120))
    return [pair for pair in loaded if pair.safe.split == "train"]


@pytest.fixture(scope="module")
def direction(model, twins):
    return calib.fit(model, twins)


@pytest.fixture(scope="module")
def queries(twins):
    return [example for pair in twins[:8] for example in (pair.unsafe, pair.safe)]


def test_importing_calib_does_not_import_torch():
    code = "import sys, calib; print('torch' in sys.modules, calib.__version__)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert ended.stdout.split() == ["False", calib.__version__]


def test_a_name_loads_the_model_of_the_commands(vlm):
    loaded = calib.load("internvl")
    assert loaded.vlm.fingerprint == vlm.fingerprint
    assert repr(loaded) == f"<mini-internvl: {vlm.num_layers} layers of {vlm.width}>"
    assert calib.load("internvl", dtype="bfloat16").vlm.model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "name, settings, code, values",
    [
        ("internvel", {}, "unknown-name", ["internvel", "'internvl'"]),
        ("/nowhere/at/all", {}, "unreadable", ["/nowhere/at/all"]),
        ("claude", {}, "unsupported", ["claude"]),
        ("internvl", {"dtipe": "float32"}, "unknown-setting", ["dtipe", "'dtype'"]),
        ("internvl", {"dtype": "float3"}, "invalid-setting", ["float3", "'float32'"]),
        ("internvl", {"tiles": "maybe"}, "invalid-setting", ["maybe"]),
    ],
)
def test_models_and_settings_that_do_not_exist(name, settings, code, values):
    with raises(code, *values) as refused:
        calib.load(name, **settings)
    # What is printed is ours alone, and not the traceback of the library that failed first.
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_direction_is_fitted_to_most_pairs_and_measured_on_the_rest(model, direction, twins):
    assert direction.layers == list(range(model.vlm.num_layers))
    assert direction.fingerprint == model.vlm.fingerprint
    assert direction.pairs + direction.auroc_pairs == len(twins)
    assert 0.1 * len(twins) < direction.auroc_pairs < 0.4 * len(twins)
    assert len(direction.auroc) == model.vlm.num_layers
    assert max(direction.auroc) > 0.7


def test_the_direction_is_the_difference_of_the_means(model, twins):
    fitted = calib.fit(model, twins[:10], held_out=0.0)
    unsafe = model.read([pair.unsafe for pair in twins[:10]])
    safe = model.read([pair.safe for pair in twins[:10]])
    difference = (unsafe.double().mean(0) - safe.double().mean(0)).float()
    expected = difference / difference.norm(dim=-1, keepdim=True)
    assert torch.allclose(fitted.vectors, expected, atol=1e-5)
    assert fitted.auroc == []


def test_steering_is_what_the_engine_does(model, direction, queries):
    layer, strength = 3, 3.0
    edits = (Edit(layer, Add(direction.at(layer, strength)), Steer.positions),)
    expected = Engine(model.vlm, Decoding(32)).answer([Request(q, edits) for q in queries])
    plain = model.generate_all(queries)
    with model.steer(direction, strength=strength, layers=layer):
        steered = model.generate_all(queries)
        assert repr(model).endswith(", 1 edits>")
    assert steered == [response.text for response in expected]
    assert steered != plain
    assert model.generate_all(queries) == plain


def test_zero_strength_and_opposite_blocks_change_nothing(model, direction, queries):
    plain = model.generate_all(queries)
    with model.steer(direction, strength=0.0, layers=3):
        assert model.generate_all(queries) == plain
    with (
        model.steer(direction, strength=3.0, layers=3),
        model.steer(direction, strength=-3.0, layers=3),
    ):
        assert model.generate_all(queries) == plain


def test_what_steer_returns_generates_so_as_a_block_does(model, direction, queries):
    queries = queries[:2]
    plain = model.generate_all(queries)
    steered = model.steer(direction, 3.0, layers=3)
    with model.steer(direction, 3.0, layers=3):
        expected = model.generate_all(queries)
    assert steered.generate_all(queries) == expected != plain
    assert model.generate_all(queries) == plain
    with steered as inside:
        assert inside is model
        assert steered.generate_all(queries) == expected  # once, not twice
    twice = model.steer(direction, 1.0, layers=3).steer(direction, 2.0, layers=3)
    assert twice.generate_all(queries) == expected
    assert not model._edits
    assert "with block" in repr(steered)


def test_steering_that_is_never_used_is_a_warning(model, direction):
    with pytest.warns(RuntimeWarning, match="steer"):
        model.steer(direction, 2.0, layers=3)


def test_numbers_of_numpy(model, queries):
    sides = ["hurt", "rob"], ["help", "feed"]
    fitted = calib.fit(model, *sides, layers=np.array([3]), held_out=np.float32(0))
    assert fitted.layers == [3]
    given = {"temperature": np.float32(0.5), "seed": np.int64(1), "max_new_tokens": np.int64(4)}
    expected = model.generate(queries[0], temperature=0.5, seed=1, max_new_tokens=4)
    assert model.generate(queries[0], **given) == expected


def test_responses_that_overflow_are_a_warning(model, direction, queries):
    steered = model.steer(direction, 1e38, layers=3)
    with pytest.warns(UserWarning, match="overflow"):
        assert steered.generate(queries[0]) == ""


def test_an_error_inside_the_block_ends_the_steering(model, direction, queries):
    plain = model.generate(queries[0])
    with pytest.raises(KeyError), model.steer(direction, strength=6.0, layers=3):
        raise KeyError
    assert model.generate(queries[0]) == plain
    assert not model._edits


def test_the_default_positions_are_those_of_a_sweep(model, direction):
    assert composed("sweep", "method=steer").method.positions == Steer.positions == "response"
    own = replace(direction, positions="prompt")
    for given, named, expected in (
        (direction, None, "response"), (own, None, "prompt"), (own, "last_prompt", "last_prompt"),
    ):  # fmt: skip
        with model.steer(given, 1.0, layers=3, positions=named):
            assert [edit.positions for edit in model._edits[0]] == [expected]


def test_the_default_layer_is_the_selected_one_or_the_best_measured(model, direction, queries):
    best = max(range(len(direction.auroc)), key=lambda k: direction.auroc[k])
    with model.steer(direction, strength=3.0):
        (edits,) = model._edits
    assert [edit.layer for edit in edits] == [best]
    alone = direction.select_layers([4])
    with model.steer(alone):
        assert [edit.layer for edit in model._edits[0]] == [4]
    blind = replace(direction, auroc=[], auroc_pairs=0)
    with raises("missing-setting", blind.layers), model.steer(blind):
        pass


def test_an_auroc_of_too_few_queries_warns(model, direction):
    with pytest.warns(UserWarning, match=r"n=1 .* 1 independent cluster\b"):
        few = calib.fit(model, ["a", "b"], ["c", "d"])
        model.steer(few.select_layers([0, 1]), 1).generate("x", max_new_tokens=1)
    assert max(few.auroc) <= 0.5
    undecided = replace(direction, auroc_low=[0.5] * 6, auroc_high=[1.0] * 6)
    with pytest.warns(UserWarning, match=f"n={direction.auroc_pairs} .* chance"):
        model.steer(undecided, 0).generate("x", max_new_tokens=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.steer(undecided, 0, layers=3).generate("x", max_new_tokens=1)
        separating = replace(direction, auroc_low=[0.6] * 6, auroc_high=[1.0] * 6)
        model.steer(separating, 0).generate("x", max_new_tokens=1)


def test_a_direction_of_another_model_is_refused(model, direction):
    other = replace(direction, fingerprint="0" * 16, origin={"weights": "1" * 16})
    with raises("mismatch", "1" * 16), model.steer(other, layers=3):
        pass
    with raises("invalid-value", 99):
        model.steer(direction, layers=99)


def test_plain_queries_with_pictures(model, queries, tmp_path):
    shown = queries[0].picture()
    asked = model.generate(queries[0].query, shown)
    assert asked == model.generate(queries[0])
    shown.save(tmp_path / "a.png")
    assert model.generate(queries[0].query, tmp_path / "a.png") == asked
    assert model.generate(queries[0].query, str(tmp_path / "a.png")) == asked
    assert model.generate_all([queries[0].query, "who are you"], [shown, None])[0] == asked


def test_invalid_pictures(model, tmp_path):
    with raises("mismatch", 1, 2):
        model.generate_all(["a", "b"], [None])
    with raises("invalid-value", "int"):
        model.generate("a", 3)
    with raises("not-found", tmp_path / "none.png"):
        model.generate("a", tmp_path / "none.png")


def test_pairs_from_a_file(model, tmp_path):
    with (tmp_path / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["safe_query", "unsafe_query", "image"])
        for k in range(12):
            Image.new("RGB", (16, 16), (k, k, k)).save(tmp_path / f"{k}.png")
            writer.writerow([f"how do i peel {k} eggs", f"how do i hurt {k} people", f"{k}.png"])
    fitted = calib.fit(model, tmp_path / "pairs.csv")
    assert fitted.pairs + fitted.auroc_pairs == 12
    calib.write_direction(tmp_path / "d.safetensors", fitted)
    for path in (tmp_path / "d.safetensors", str(tmp_path / "d.safetensors")):
        assert calib.read_direction(path).layers == fitted.layers


@pytest.mark.parametrize(
    "settings, values",
    [
        ({"contrast": "refusal"}, ["contrast", "refusal", "safety, modality"]),
        ({"estimator": "mean"}, ["estimator", "mean"]),
        ({"site": "head"}, ["site", "head"]),
        ({"held_out": 1.0}, ["held_out", 1.0]),
    ],
)
def test_invalid_settings_of_fit(model, twins, settings, values):
    with raises("invalid-setting", *values):
        calib.fit(model, twins, **settings)


def test_no_pairs(model):
    with raises("too-few"):
        calib.fit(model, [])


def test_projections_are_in_gaps_from_the_midpoint_of_the_class_means(model, twins):
    fitted = calib.fit(model, twins[:20], held_out=0.0).select_layers([1, 4])
    unsafe = model.project(fitted, [pair.unsafe for pair in twins[:20]])
    safe = model.project(fitted, [pair.safe for pair in twins[:20]])
    assert unsafe.shape == (20, 2)
    assert torch.allclose(unsafe.mean(0), torch.full((2,), 0.5).double(), atol=1e-4)
    assert torch.allclose(safe.mean(0), torch.full((2,), -0.5).double(), atol=1e-4)
    read = model.read([twins[0].unsafe])[0, 4].double()
    vector, middle, gap = (getattr(fitted, name)[1] for name in ("vectors", "midpoint", "gap"))
    assert unsafe[0, 1] == pytest.approx(float((read @ vector.double() - middle) / gap), abs=1e-6)
    other = replace(fitted, fingerprint="0" * 16, origin={})
    with raises("mismatch", "0" * 16):
        model.project(other, [twins[0].safe])


def test_projections_use_the_positions_and_the_site_of_the_direction(model, twins):
    fitted = calib.fit(model, twins[:8], held_out=0.0, positions="text", site="mlp")
    unsafe = model.project(fitted, [pair.unsafe for pair in twins[:8]])
    assert torch.allclose(unsafe.mean(0), torch.full((6,), 0.5).double(), atol=1e-4)


def test_pairs_by_name_are_those_of_the_benchmark():
    loaded = calib.load_pairs("mini", limit=20, parts=["text_centric"])
    assert [p.id for p in loaded] == [
        p.id for p in pairs(mini(["text_centric"], limit=20, split_by=None))
    ]
    validation = calib.load_pairs("mini", "validation", limit=20, parts=["text_centric"])
    assert [p.id for p in validation] == [p.id for p in loaded if p.safe.split == "validation"]
    assert len(validation) == 10


def test_pairs_of_a_table(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text(
        "pair,safety,query\na,safe,peel an egg\na,unsafe,hurt a man\n", encoding="utf-8"
    )
    for given in (table, str(table)):
        (pair,) = calib.load_pairs(given, train=1.0, validation=0.0)
        assert (pair.safe.query, pair.unsafe.query) == ("peel an egg", "hurt a man")
        assert pair.safe.split == "train"
    alone = tmp_path / "alone.csv"
    alone.write_text("safety,query\nsafe,peel an egg\n", encoding="utf-8")
    with raises("too-few", alone):
        calib.load_pairs(alone)
    with raises("too-few", 1, table, "test"):
        calib.load_pairs(table, "test", train=1.0, validation=0.0)


@pytest.mark.parametrize(
    "data, split, settings, code, values",
    [
        ("mini", "tests", {}, "invalid-setting", ["tests", "train, validation, test"]),
        ("mini", None, {"limits": 3}, "unknown-setting", ["limits", "'limit'"]),
        ("mini", None, {"parts": ["none"]}, "invalid-setting", ["data.parts", "none"]),
        ("minni", None, {}, "unknown-name", ["minni"]),
        ("vscbench", None, {}, "missing-setting", ["data.root"]),
    ],
)
def test_pairs_that_cannot_be_loaded(data, split, settings, code, values):
    with raises(code, *values):
        calib.load_pairs(data, split, **settings)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """A small run of calib.extract."""
    folder = tmp_path_factory.mktemp("run") / "small"
    settings = ["data.parts=[text_centric]", "data.limit=40", "kl=null", f"out={folder}"]
    with undrawn():
        done = command("extract", *settings)
    assert done.code == 0, done.stderr
    return folder


def test_figures_by_name(extracted):
    drawn = calib.draw("projections", extracted)
    assert drawn.get_figwidth() == pytest.approx(6.9)
    one, other = (calib.draw("projections", str(extracted), columns=1, layer=k) for k in (0, 2))
    assert one.get_figwidth() == pytest.approx(3.3)
    titles = [figure.axes[0].get_title(loc="left") for figure in (one, other)]
    assert "layer 0" in titles[0] and "layer 2" in titles[1]


@pytest.mark.parametrize(
    "figure, columns, code, values",
    [
        ("projection", None, "invalid-setting", ["projection", "'projections'"]),
        ("layers", 3, "invalid-setting", ["columns", 3]),
        ("trade_off", None, "missing-value", []),
    ],
)
def test_figures_that_cannot_be_drawn(extracted, figure, columns, code, values):
    with raises(code, *values):
        calib.draw(figure, extracted, columns=columns)


def test_a_folder_without_a_run_cannot_be_drawn(tmp_path):
    with raises("unfinished-run", tmp_path):
        calib.draw("layers", tmp_path)


@pytest.mark.parametrize("former, present", [("extract", "fit"), ("Steerable", "Model")])
def test_former_names_work_and_warn(former, present):
    # Not calib.extract: a test in this process may have imported the command of that name.
    with pytest.warns(DeprecationWarning) as warned:
        value = calib.__getattr__(former)
    assert all(f"calib.{name}" in str(warned[0].message) for name in (former, present))
    assert value is getattr(calib, present)


def test_every_public_name_exists():
    assert all(getattr(calib, name) is not None for name in calib.__all__)


def test_unknown_names():
    with pytest.raises(AttributeError) as error:
        calib.nothing  # noqa: B018
    assert "'nothing'" in str(error.value)
