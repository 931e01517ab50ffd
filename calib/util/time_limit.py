"""A bound on the time that a block of Python code may take."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the Python code of the block runs for longer than ``seconds``.

    It is checked at each line, by a trace function of this thread: a signal would reach the main
    thread only, and a thread cannot be stopped from outside.
    """
    end, before = time.monotonic() + seconds, sys.gettrace()

    def check(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > end:
            raise TimeoutError(f"not done after {seconds:g} s")
        return check

    sys.settrace(check)
    try:
        yield
    finally:
        sys.settrace(before)
