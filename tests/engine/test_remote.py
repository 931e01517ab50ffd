"""Responses of a remote model: concurrent requests, correct indices, no response is lost."""

import threading
import time
from contextlib import closing
from queue import SimpleQueue

import pytest
from local_endpoint import LocalEndpoint, fails, says
from raising import raises

from calib.config.model import RemoteModelConfig
from calib.data.example import Example
from calib.engine import remote
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding, Request
from calib.models import backoff
from calib.models.remote import RemoteModel


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def remote_engine(server, **settings):
    config = RemoteModelConfig(name="vllm", model="m", base_url=server.url, **settings)
    return RemoteEngine(RemoteModel(config), Decoding(max_new_tokens=7))


def requests(count):
    return [
        Request(Example(str(k), "image_centric", "drawn", "tools", "test", f"Question {k}"), seed=k)
        for k in range(count)
    ]


def number(request):
    return int(request.user.split()[1])


def texts(stream):
    return {index: response.text for responses in stream for index, response in responses}


def test_responses_have_the_index_of_their_request_in_any_order():
    barrier = threading.Barrier(4, timeout=30)

    def act(request):
        if number(request) < 4:
            barrier.wait()  # until four requests are in flight
        time.sleep(0.02 * (5 - number(request) % 6))
        return says(f"Answer {number(request)}")

    with LocalEndpoint(by=act) as server:
        engine = remote_engine(server, concurrency=4)
        assert texts(engine.stream(requests(24))) == {k: f"Answer {k}" for k in range(24)}
    assert server.most_at_once == 4
    (note,) = engine.notes
    assert "vllm:m" in note and note.count("24 ") == 2


@pytest.mark.parametrize(
    ("act", "text", "finish"),
    [
        (says("a door"), "a door", "stop"),
        (says("a do", "length"), "a do", "length"),
        (says(""), "", "stop"),
        (says("half", "content_filter"), "half", "blocked"),
        (says(None, refusal="I would rather not."), "I would rather not.", "stop"),
        (fails(400, code="content_filter"), "", "blocked"),
    ],
)
def test_finish_reasons(act, text, finish):
    with LocalEndpoint(act) as server:
        (((index, response),),) = remote_engine(server).stream(requests(1))
    assert (index, response.text, response.finish, response.kl) == (0, text, finish, None)
    assert ("blocked" in response.remote) == (finish == "blocked")


def test_no_request_starts_before_earlier_responses_are_taken():
    with LocalEndpoint(says("a door")) as server:
        with closing(remote_engine(server, concurrency=2).stream(requests(10))) as stream:
            done = len(next(stream))
            time.sleep(0.3)  # enough for all requests to arrive, if they were sent
            assert len(server.requests) <= 2
            while done < 10:
                before = done
                done += len(next(stream))
                assert len(server.requests) <= before + 2 + 2
        assert len(server.requests) == 10


def test_responses_before_an_error_and_in_flight_are_yielded():
    never_set = threading.Event()

    def act(request):
        if number(request) == 2:
            return fails(401)
        if number(request) == 3:  # in flight when the error occurs
            never_set.wait(0.3)
        return says("a door")

    received = {}
    with LocalEndpoint(by=act) as server:
        engine = remote_engine(server, concurrency=2)
        with raises("endpoint", server.url):
            for responses in engine.stream(requests(20)):
                received |= dict(responses)
    assert {0, 1} <= received.keys() <= {0, 1, 3}
    assert len(server.requests) == len(received) + 1
    assert engine.rows == len(received)


def test_the_request_budget_is_used_completely():
    with LocalEndpoint(says("a door")) as server:
        engine, received = remote_engine(server, concurrency=3, max_requests=5), {}
        with raises("endpoint", "model.max_requests=5"):
            for responses in engine.stream(requests(9)):
                received |= dict(responses)
        assert len(received) == len(server.requests) == 5


def test_closing_the_stream_stops_further_requests():
    with LocalEndpoint(says("a door")) as server:
        engine = remote_engine(server, concurrency=2)
        with closing(engine.stream(requests(40))) as stream:
            next(stream)
        sent = len(server.requests)
        assert sent <= 2
        time.sleep(0.2)
        assert len(server.requests) == sent
        assert len(texts(engine.stream(requests(3)))) == 3  # the engine is still usable


def test_ctrl_c_waits_for_requests_in_flight(monkeypatch):
    two_more_in_flight = threading.Event()  # after two responses have been received
    slow = LocalEndpoint(by=lambda request: act())

    def act():
        if len(slow.requests) == 4:
            two_more_in_flight.set()
        time.sleep(0.1)
        return says("a door")

    class InterruptedQueue:
        """A queue that raises KeyboardInterrupt at the third ``get``."""

        def __init__(self):
            self.queue, self.calls = SimpleQueue(), 0
            self.put, self.empty = self.queue.put, lambda: True

        def get(self):
            self.calls += 1
            if self.calls == 3:
                assert two_more_in_flight.wait(30)
                raise KeyboardInterrupt
            return self.queue.get()

    monkeypatch.setattr(remote, "SimpleQueue", InterruptedQueue)
    received = {}
    with slow as server, pytest.raises(KeyboardInterrupt):
        for responses in remote_engine(server, concurrency=2).stream(requests(20)):
            received |= dict(responses)
    assert len(received) == len(server.requests) == 4


def test_other_exceptions_pass_through():
    def broken():
        raise ZeroDivisionError

    rows = requests(5)
    rows[0] = Request(Example("x", "image_centric", "drawn", "t", "test", "Why 9?", picture=broken))
    with LocalEndpoint(says("a door")) as server, pytest.raises(ZeroDivisionError):
        texts(remote_engine(server, concurrency=1).stream(rows))
    assert not server.requests
