"""Which decoder blocks a configuration means."""

import pytest

from calib.interventions.grid import resolve_layers
from calib.util.errors import CalibError


class Deep:
    checkpoint = "deep"

    def __init__(self, layers):
        self.num_layers = layers


@pytest.mark.parametrize(
    ("depth", "wanted", "layers"),
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
def test_layers_by_name_or_number(depth, wanted, layers):
    assert resolve_layers(Deep(depth), wanted) == layers


@pytest.mark.parametrize("wanted", [6, [0, 6], -1])
def test_a_layer_that_is_not_there(wanted):
    with pytest.raises(CalibError, match=r"does not exist: deep has layers 0 to 5"):
        resolve_layers(Deep(6), wanted)
