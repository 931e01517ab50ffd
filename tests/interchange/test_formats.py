"""Directions that a format cannot represent are rejected with an alternative."""

import dataclasses

import pytest
import torch
from raising import raises
from random_directions import direction_at
from tiny_families import tiny

from calib.config.choices import EXPORT_FORMATS, IMPORT_FORMATS
from calib.interchange.formats import FORMATS, require_expressible, select_layers
from calib.interchange.readers import READERS
from calib.util.errors import CalibError


def made(layers=(3,), **changes):
    return direction_at(tiny("internvl"), list(layers), **changes)


def test_the_names_are_those_of_the_configuration():
    assert {"native", *FORMATS} == set(EXPORT_FORMATS)
    assert {"native", *READERS} == set(IMPORT_FORMATS)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("changes", "code", "values"),
    [
        ({"operator": "clamp"}, "unsupported", ("'clamp'", "method.operator=add")),
        ({"operator": "add_keeping_norm"}, "unsupported", ("'add_keeping_norm'",)),
        ({"site": "heads"}, "unsupported", ("'heads'", "method.site=residual")),
        ({"positions": "last_prompt"}, "unsupported", ("'last_prompt'", "method.positions=all")),
        ({"positions": "response"}, "unsupported", ("'response'", "method.positions=all")),
        ({"strength": float("nan")}, "invalid-setting", ("strength=nan",)),
    ],
)
def test_edits_that_no_format_can_represent(name, changes, code, values):
    with raises(code, *values):
        require_expressible(made(**changes), name)


@pytest.mark.parametrize("name", FORMATS)
def test_only_lm_eval_can_ablate_and_only_completely(name):
    complete = made(operator="ablate", strength=1.0)
    if name != "lm_eval":
        with raises("unsupported", f"format={name}", "'ablate'"):
            require_expressible(complete, name)
        return
    assert require_expressible(complete, name).operator == "ablate"
    with raises("unsupported", "0.5", "strength=1"):
        require_expressible(made(operator="ablate", strength=0.5), name)


@pytest.mark.parametrize("name", FORMATS)
def test_the_mlp_needs_a_format_with_modules_or_weights(name):
    mlp = made(site="mlp")
    if name in ("lm_eval", "baked"):
        assert require_expressible(mlp, name).site == "mlp"
    else:
        with raises("unsupported", "'mlp'"):
            require_expressible(mlp, name)


@pytest.mark.parametrize("name", FORMATS)
def test_only_llama_cpp_cannot_edit_the_first_block(name):
    if name == "gguf":
        with raises("unsupported", "layer 0", "layer 1", "layers=[N]"):
            require_expressible(made([0, 2]), name, "all")
    else:
        assert require_expressible(made([0, 2]), name, "all").layers == [0, 2]


def test_several_layers_must_be_chosen_explicitly():
    several = made([1, 2, 4])
    with raises("missing-setting", [1, 2, 4], "layers=[N]"):
        require_expressible(several, "repeng")
    assert require_expressible(several, "repeng", "all").layers == [1, 2, 4]
    assert require_expressible(several, "repeng", [4, 1]).layers == [1, 4]
    single = require_expressible(several, "repeng", 2)
    assert (single.layers, single.chosen_layer) == ([2], 2)
    assert torch.equal(single.at(2, 1.0), several.at(2, 1.0))
    chosen = dataclasses.replace(several, chosen_layer=4)
    assert require_expressible(chosen, "repeng").layers == [4]
    with pytest.raises(CalibError, match="layer 3"):
        require_expressible(several, "repeng", 3)


def test_unspecified_positions_are_the_formats():
    assert require_expressible(made(positions=""), "gguf").layers == [3]


def test_layers_and_strength_are_selected_only_on_request():
    several = made([1, 2, 4], strength=1.0)
    assert select_layers(several, None, None) == several
    assert select_layers(several, None, 0.5).strength == 0.5
    assert select_layers(several, [1, 4], None).layers == [1, 4]
    assert select_layers(several, [1, 4], None).chosen_layer is None
