"""What having a picture does, taken out."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import By, require_same
from PIL import Image

from calib.config.method import Modality
from calib.interventions.fitting import Fitting
from calib.methods.cmrm import check, method
from calib.util.errors import CalibError


def blank(size):
    return Image.new("RGB", size, (127, 127, 127))


def noise(size):
    drawn = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(drawn)


def with_picture(example, kind):
    if kind == "own":
        return example
    size = example.picture().size
    return replace(example, picture=lambda: {"blank": blank, "noise": noise}[kind](size))


def shifts(world, examples, kind, layers):
    """h(query, picture) - h(query). # [layers, examples, width]"""
    shown = [with_picture(example, kind) for example in examples]
    alone = [replace(example, picture=None) for example in examples]
    return {k: world.plain.last(shown, k) - world.plain.last(alone, k) for k in layers}


@pytest.mark.parametrize("kind", ["blank", "noise", "own"])
@pytest.mark.parametrize(("per_example", "strength"), [(True, -1.0), (False, 2.0)])
def test_the_shift_is_removed(world, kind, per_example, strength):
    shown, layers = world.shown(), (1, 2, 3)
    train = [e for s in ("unsafe", "safe") for e in world.twins(s) if e.picture]
    found = shifts(world, [shown] if per_example else train, kind, layers)
    changes = [By(k, "last_prompt", lambda h, k=k: h - strength * found[k].mean(0)) for k in layers]
    config = Modality(
        "cmrm", layers="middle", all_layers_at_once=True, picture=kind, per_example=per_example
    )
    setting = method(world.fitting, config).setting(None, strength)
    require_same(world, setting, shown, changes)


@pytest.mark.parametrize("per_example", [True, False])
def test_an_example_without_a_picture_is_left_alone(world, per_example):
    config = Modality("cmrm", all_layers_at_once=True, per_example=per_example)
    change = method(world.fitting, config).setting(None, 1.0).intervention
    plain, shown = world.shown(picture=False), world.shown()
    assert change.edits_for([plain]) == [()]
    assert [len(edits) for edits in change.edits_for([plain, shown, plain])] == [0, 6, 0]


def test_a_run_without_pictures_is_refused(world, tmp_path):
    plain = [example for example in world.examples if example.picture is None]
    with pytest.raises(CalibError, match="method=cmrm removes what pictures do, and none .* has"):
        check(Modality("cmrm"), world.vlm, plain)
    check(Modality("cmrm"), world.vlm, world.examples)
    fitting = Fitting(world.vlm, plain, [], world.fitting.baseline_answers, tmp_path)
    with pytest.raises(CalibError, match=r"over the train pairs, and none .*per_example=true"):
        method(fitting, Modality("cmrm"))


def test_an_unknown_picture_is_refused():
    with pytest.raises(CalibError, match="method.picture: 'white' is not one of blank, noise, own"):
        Modality("cmrm", picture="white")
