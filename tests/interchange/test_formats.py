"""What a format cannot say is refused, with what to do instead."""

import dataclasses

import pytest
import torch
from random_directions import direction_at
from tiny_families import tiny

from calib.config.choices import EXPORT_FORMATS, IMPORT_FORMATS
from calib.interchange.formats import FORMATS, cut, expressible
from calib.interchange.readers import READERS
from calib.util.errors import CalibError


def made(layers=(3,), **changes):
    return direction_at(tiny("internvl"), list(layers), **changes)


def test_the_names_are_those_of_the_configuration():
    assert {"native", *FORMATS} == set(EXPORT_FORMATS)
    assert {"native", *READERS} == set(IMPORT_FORMATS)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"operator": "clamp"}, "for operator 'clamp'.*method.operator=add"),
        ({"operator": "add_keeping_norm"}, "for operator 'add_keeping_norm'"),
        ({"site": "heads"}, "for site 'heads'.*output of a decoder block.*method.site=residual"),
        ({"positions": "last_prompt"}, "for positions 'last_prompt'.*method.positions=all"),
        ({"positions": "response"}, "for positions 'response'.*every token"),
        ({"strength": float("nan")}, "strength: nan"),
    ],
)
def test_what_no_format_can_say(name, changes, words):
    with pytest.raises(CalibError, match=words):
        expressible(made(**changes), name)


@pytest.mark.parametrize("name", FORMATS)
def test_ablation_is_said_by_one_format_only_and_there_as_a_whole(name):
    whole = made(operator="ablate", strength=1.0)
    if name != "lm_eval":
        with pytest.raises(CalibError, match=f"format={name}: .*operator 'ablate'"):
            expressible(whole, name)
        return
    assert expressible(whole, name).operator == "ablate"
    with pytest.raises(CalibError, match="removes 0.5 of the component.*Give strength=1"):
        expressible(made(operator="ablate", strength=0.5), name)


@pytest.mark.parametrize("name", FORMATS)
def test_the_mlp_is_said_where_modules_are_named_or_weights_carried(name):
    mlp = made(site="mlp")
    if name in ("lm_eval", "baked"):
        assert expressible(mlp, name).site == "mlp"
    else:
        with pytest.raises(CalibError, match="for site 'mlp'"):
            expressible(mlp, name)


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_block_is_refused_by_llama_cpp_only(name):
    if name == "gguf":
        with pytest.raises(CalibError, match="edits layer 0.*begins at layer 1.*layers=.N."):
            expressible(made([0, 2]), name, "all")
    else:
        assert expressible(made([0, 2]), name, "all").layers == [0, 2]


def test_several_layers_are_one_edit_only_where_that_is_said():
    several = made([1, 2, 4])
    with pytest.raises(CalibError, match=r"layers \[1, 2, 4\], each a setting of its own"):
        expressible(several, "repeng")
    assert expressible(several, "repeng", "all").layers == [1, 2, 4]
    assert expressible(several, "repeng", [4, 1]).layers == [1, 4]
    one = expressible(several, "repeng", 2)
    assert (one.layers, one.chosen_layer) == ([2], 2)
    assert torch.equal(one.at(2, 1.0), several.at(2, 1.0))
    chosen = dataclasses.replace(several, chosen_layer=4)
    assert expressible(chosen, "repeng").layers == [4]
    with pytest.raises(CalibError, match="layer 3 is not in the direction"):
        expressible(several, "repeng", 3)


def test_positions_that_nobody_said_are_those_of_the_format():
    assert expressible(made(positions=""), "gguf").layers == [3]


def test_calibs_own_format_is_cut_only_where_asked():
    several = made([1, 2, 4], strength=1.0)
    assert cut(several, None, None) == several
    assert cut(several, None, 0.5).strength == 0.5
    assert cut(several, [1, 4], None).layers == [1, 4]
    assert cut(several, [1, 4], None).chosen_layer is None
