"""Expect a CalibError by its code and by the values that its message names."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from calib.util.errors import CalibError


@contextmanager
def raises(
    code: str, *values: object, error: type[CalibError] = CalibError
) -> Iterator[pytest.ExceptionInfo[CalibError]]:
    """Fail unless a CalibError with ``code`` is raised whose message contains every value."""
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value}"
    for value in values:
        assert str(value) in str(caught.value)
