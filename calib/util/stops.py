"""Ctrl-C and SIGTERM during the code of libraries that may lose them."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SECONDS = 3.0
"""Seconds after which a block that goes on is stopped again."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def unlost_stops() -> Iterator[None]:
    """Raise the exception of a signal in the block again, until the block ends with it.

    A library loses it where it catches all exceptions, or where the signal also ends a process of
    its own and it reports that instead.
    """
    stopped: list[BaseException] = []
    over = threading.Event()

    def repeat(number: int) -> None:
        while not over.wait(SECONDS):
            os.kill(os.getpid(), number)

    def noting(handler: Any) -> Any:
        def handle(number: int, frame: FrameType | None) -> None:
            if over.is_set():
                return
            if stopped:
                raise stopped[0]
            try:
                handler(number, frame)
            except BaseException as stop:
                stopped.append(stop)
                signal.signal(number, handle)  # the handler may have replaced it
                threading.Thread(target=repeat, args=(number,), daemon=True).start()
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
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise stopped[0]
