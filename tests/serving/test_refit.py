"""Runs of earlier versions whose methods are fitted in another way now are not served."""

from dataclasses import asdict

import pytest
from composing import composed
from raising import raises

from calib.serving.refit import require_same_fit


@pytest.mark.parametrize(
    ("name", "newer"),
    [("adaptive", ("refusal_offset", "harm_offset", "harm_direction")), ("nullspace", ("benign",))],
)
@pytest.mark.parametrize("within", [False, True])
def test_a_method_of_a_run_from_before_its_fit_changed_is_an_error(name, newer, within):
    now = asdict(composed("sweep", f"method={name}").method)
    before = {key: value for key, value in now.items() if key not in newer}
    if within:
        now, before = ({"name": "combine", "activation": settings} for settings in (now, before))
    require_same_fit(now)
    with raises("mismatch", name):
        require_same_fit(before)


def test_methods_whose_fit_is_unchanged_are_served():
    require_same_fit(asdict(composed("sweep", "method=steer").method))
    require_same_fit({})
