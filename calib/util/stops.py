"""Ctrl-C and SIGTERM during the code of libraries that may lose them."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def unlost_stops() -> Iterator[None]:
    """Raise the exception of a signal that arrived in the block at its end, if a library lost it.

    A library loses it where it catches all exceptions, or where the signal also ends a process of
    its own and it reports that instead.
    """
    stopped: list[BaseException] = []

    def noting(handler: Any) -> Any:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as stop:
                stopped.append(stop)
                raise

        return handle

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: handler for number, handler in before.items() if callable(handler)}
    for number, handler in before.items():
        signal.signal(number, noting(handler))
    try:
        yield
    except Exception as error:
        if stopped:
            raise stopped[0] from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise stopped[0]
