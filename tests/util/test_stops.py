"""Ctrl-C and SIGTERM that a library loses."""

import contextlib
import signal
import threading

import pytest

from calib.util.stops import unlost_stops


def stop():
    signal.raise_signal(signal.SIGINT)


def test_a_lost_stop_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), unlost_stops(), contextlib.suppress(BaseException):
        stop()


def test_a_stop_replaces_the_error_that_it_caused():
    with pytest.raises(KeyboardInterrupt), unlost_stops():
        try:
            stop()
        except KeyboardInterrupt:
            raise RuntimeError("another process ended") from None


def test_other_errors_and_handlers_stay():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="own"), unlost_stops():
        raise ValueError("own")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_stop_is_repeated_until_the_block_ends(monkeypatch):
    monkeypatch.setattr("calib.util.stops.SECONDS", 0.01)
    lost = 0
    with pytest.raises(KeyboardInterrupt), unlost_stops():
        stop_once = iter([stop])
        while True:
            try:
                next(stop_once, threading.Event().wait)()
            except KeyboardInterrupt:
                lost += 1
                if lost == 3:
                    raise
    assert lost == 3
