"""Profiles of hypothesis: few examples, always the same ones, or more and random ones.

tests/properties/conftest.py loads "few"; ``pytest tests/properties --hypothesis-profile=fuzz`` and
benchmarks/fuzz.py take the other. Neither has a deadline or a database: no test depends on the
speed of the machine or on an earlier run.
"""

from hypothesis import HealthCheck, settings

FEW, MANY = 20, 50
"""Examples of each property, unless it says otherwise with ``share``."""

_COMMON = {
    "deadline": None,
    "database": None,
    # The first is a matter of speed. The second: folders and models are shared by all examples.
    "suppress_health_check": [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
}


def register() -> None:
    """Register both profiles, and load the one with few examples."""
    settings.register_profile("few", max_examples=FEW, derandomize=True, **_COMMON)
    settings.register_profile("fuzz", max_examples=MANY, print_blob=True, **_COMMON)
    settings.load_profile("few")


def share(part: float) -> settings:
    """Settings with this part (or multiple) of the profile's examples, for costly or cheap ones."""
    loaded = settings.get_profile(settings.get_current_profile_name())
    return settings(max_examples=max(2, round(part * loaded.max_examples)))
