"""Responses to the same examples under two settings, and their difference."""

import pytest

from calib.report.paired import PairedResponses


def test_a_difference_without_a_changed_response_has_a_width():
    right = [True] * 40
    unchanged = PairedResponses(right, right, [str(k) for k in range(40)], [""] * 40)
    value, low, high, n, clusters = unchanged.difference()
    reach = 1.959964**2 / (40 + 1.959964**2)  # Tango 1998
    assert (value, n, clusters) == (0.0, 40, 40)
    assert (low, high) == pytest.approx((-reach, reach), abs=1e-6)
