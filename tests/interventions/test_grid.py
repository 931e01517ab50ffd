"""Layers of a configuration, and the grid made of them."""

import pytest
from raising import raises
from tiny_families import HYBRIDS, tiny

from calib.interventions.grid import LayerGrid, resolve_layers


class Deep:
    checkpoint = "deep"

    def __init__(self, layers):
        self.num_layers = layers


@pytest.mark.parametrize(
    ("depth", "value", "layers"),
    [
        (6, "all", [0, 1, 2, 3, 4, 5]),
        (6, "auto", [0, 1, 2, 3, 4, 5]),
        (6, "lower", [0, 1, 2]),
        (6, "middle", [1, 2, 3]),
        (6, "upper", [3, 4, 5]),
        (32, "middle", list(range(8, 24))),
        (27, "upper", list(range(13, 27))),
        (1, "lower", [0]),
        (1, "middle", [0]),
        (1, "upper", [0]),
        (6, 5, [5]),
        (6, [4, 2, 4], [2, 4]),
    ],
)
def test_layers_by_name_or_number(depth, value, layers):
    assert resolve_layers(Deep(depth), value) == layers


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 6, 7, 26, 27, 28, 32])
def test_bands_of_any_depth(depth):
    model = Deep(depth)
    lower, middle, upper = (resolve_layers(model, name) for name in ("lower", "middle", "upper"))
    assert all((lower, middle, upper))
    if depth > 1:
        assert [*lower, *upper] == list(range(depth))
        assert abs(len(lower) - len(upper)) <= 1
        assert abs(2 * len(middle) - depth) <= 2
    assert resolve_layers(model, "all") == resolve_layers(model, "auto") == list(range(depth))


@pytest.mark.parametrize(("value", "missing"), [(6, 6), ([0, 6], 6), (-1, -1)])
def test_a_layer_that_the_model_does_not_have_is_refused(value, missing):
    with raises("invalid-value", f"layer {missing}", "deep", "0 to 5"):
        resolve_layers(Deep(6), value)


def test_each_layer_is_edited_by_itself():
    grid = LayerGrid.of([2, 4])
    assert grid.layers == (2, 4)
    assert grid.edited(4) == (4,) and grid.edited(None) == (2, 4)


def test_all_layers_at_once_are_one_point_of_the_grid():
    grid = LayerGrid.of([2, 4], all_layers_at_once=True)
    assert grid.layers == (None,) and grid.edited(None) == (2, 4)


def test_several_layers_are_edited_from_each_first_layer_on():
    everywhere = LayerGrid.of([1, 2, 4], all_layers_at_once=True, first_layers="all")
    assert everywhere.layers == (1, 2, 4)
    assert [everywhere.edited(layer) for layer in (1, 2, 4)] == [(1, 2, 4), (2, 4), (4,)]
    some = LayerGrid.of([1, 2, 4], all_layers_at_once=True, first_layers=[4, 1, 4])
    assert some.layers == (1, 4) and some.edited(1) == (1, 2, 4)
    with raises("invalid-value", "method.first_layers", "layer 3", "1, 2, 4"):
        LayerGrid.of([1, 2, 4], all_layers_at_once=True, first_layers=[3])


def test_a_single_first_layer_may_be_a_number():
    grid = LayerGrid.of([2, 3, 4], all_layers_at_once=True, first_layers=3)
    assert grid == LayerGrid.of([2, 3, 4], all_layers_at_once=True, first_layers=[3])
    assert grid.edited(3) == (3, 4)


@pytest.mark.parametrize("family", HYBRIDS)
def test_heads_of_a_hybrid_are_in_its_blocks_with_attention(family):
    hybrid = tiny(family)
    assert (
        resolve_layers(hybrid, "all", "heads") == resolve_layers(hybrid, "upper", "heads") == [2, 4]
    )
    assert resolve_layers(hybrid, [4, 2], "heads") == [2, 4]
    assert resolve_layers(hybrid, "all", "mlp") == resolve_layers(hybrid, "all") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("layers, named", [(3, "layer 3"), ([2, 0], "layer 0"), ("lower", "lower")])
def test_a_layer_without_attention_has_no_heads(layers, named):
    with raises("unsupported", "site=heads", named, "tiny-qwen3_5", "layers 2, 4"):
        resolve_layers(tiny("qwen3_5"), layers, "heads")
