"""vLLM that is started when it is needed."""

from types import SimpleNamespace

import pytest

from calib.config.engine import VllmChoice
from calib.engine.vllm.deferred import Deferred


class Made:
    """A backend that lists what happens to it."""

    def __init__(self):
        self.calls, self.notes = [], ["a note"]

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append(name) or iter([name])


@pytest.fixture
def events():
    return []


@pytest.fixture
def deferred(events):
    made = Made()
    made.calls = events
    return Deferred(VllmChoice(rows_in_flight=8), lambda: events.append("start") or made)


def test_nothing_is_started_without_a_request(deferred, events):
    assert deferred.rows_in_flight == 8 and deferred.runs_hooks and deferred.notes == []
    assert list(deferred.complete([], 4)) == []
    deferred.close()
    assert events == [] and not deferred.is_started


def test_it_is_started_once_and_callbacks_precede_the_first_request(deferred, events):
    deferred.when_started(lambda backend: events.append("callback"))
    for _ in range(2):
        list(deferred.complete([SimpleNamespace()], 4))
    deferred.when_started(lambda backend: events.append("later"))
    deferred.close()
    assert events == ["start", "callback", "complete", "complete", "later", "close"]
    assert deferred.notes == ["a note"]


def test_servers_share_the_rows_in_flight_and_take_hooks_if_allowed():
    urls = ["http://a:1", "http://b:2"]
    servers = Deferred(VllmChoice(base_url=urls, rows_in_flight=8), Made)
    assert servers.rows_in_flight == 16 and not servers.runs_hooks
    assert Deferred(VllmChoice(base_url=urls, hooks=True), Made).runs_hooks
