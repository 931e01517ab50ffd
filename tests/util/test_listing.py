"""Long lists are cut, with the number of what is left out."""

import pytest

from calib.util.listing import shortened


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, []), (3, ["0", "1", "2"]), (4, ["0", "1", "2", "3"]), (5, ["0", "1", "2", "2 more"])],
)
def test_the_number_of_the_others_comes_last(count, shown):
    assert shortened(range(count), 3) == shown
