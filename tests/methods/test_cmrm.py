"""Cross-modality representation manipulation: the effect of a picture is removed."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import FormulaEdit, require_same
from PIL import Image
from raising import raises

from calib.config.method import Modality
from calib.interventions.fitting import Fitting
from calib.methods.cmrm import check, method


def blank(size):
    return Image.new("RGB", size, (127, 127, 127))


def noise(size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def with_picture(example, kind):
    if kind == "own":
        return example
    size = example.picture().size
    return replace(example, picture=lambda: {"blank": blank, "noise": noise}[kind](size))


def shifts(world, examples, kind, layers):
    """h(query, picture) - h(query). # [layers, examples, width]"""
    pictured = [with_picture(example, kind) for example in examples]
    plain = [replace(example, picture=None) for example in examples]
    return {k: world.plain.last(pictured, k) - world.plain.last(plain, k) for k in layers}


@pytest.mark.parametrize("kind", ["blank", "noise", "own"])
@pytest.mark.parametrize(("per_example", "strength"), [(True, -1.0), (False, 2.0)])
def test_the_shift_is_removed(world, kind, per_example, strength):
    example, layers = world.test_example(), (1, 2, 3)
    train = [e for s in ("unsafe", "safe") for e in world.twins(s) if e.picture]
    shift = shifts(world, [example] if per_example else train, kind, layers)
    changes = [
        FormulaEdit(k, "last_prompt", lambda h, k=k: h - strength * shift[k].mean(0))
        for k in layers
    ]
    config = Modality(
        "cmrm", layers="middle", all_layers_at_once=True, picture=kind, per_example=per_example
    )
    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, example, changes)


@pytest.mark.parametrize("per_example", [True, False])
def test_an_example_without_a_picture_is_not_edited(world, per_example):
    config = Modality("cmrm", all_layers_at_once=True, per_example=per_example)
    intervention = method(world.fitting, config).setting(None, 1.0).intervention
    plain, pictured = world.test_example(picture=False), world.test_example()
    assert intervention.edits_for([plain]) == [()]
    edits_of_each = intervention.edits_for([plain, pictured, plain])
    assert [len(edits) for edits in edits_of_each] == [0, 6, 0]


def test_a_run_without_pictures_is_refused(world, tmp_path):
    plain = [example for example in world.examples if example.picture is None]
    with raises("too-few", "method=cmrm"):
        check(Modality("cmrm"), world.vlm, plain)
    check(Modality("cmrm"), world.vlm, world.examples)
    fitting = Fitting(world.vlm, plain, [], world.fitting.baseline_answers, tmp_path)
    with raises("too-few", "method=cmrm", "train", "method.per_example=true"):
        method(fitting, Modality("cmrm"))


def test_an_unknown_picture_is_refused():
    with raises("invalid-setting", "method.picture", "white", "blank, noise, own"):
        Modality("cmrm", picture="white")
