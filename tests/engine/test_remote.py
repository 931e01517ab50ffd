"""Answers of a remote model: several at once, each at its place, and what was paid for is kept."""

import threading
import time
from contextlib import closing
from queue import SimpleQueue

import pytest
from local_endpoint import LocalEndpoint, fails, says

from calib.config.model import RemoteModelConfig
from calib.data.example import Example
from calib.engine import remote
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding, Request
from calib.models import backoff as trouble
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def engine(server, **settings):
    config = RemoteModelConfig(name="vllm", model="m", base_url=server.url, **settings)
    return RemoteEngine(RemoteModel(config), Decoding(max_new_tokens=7))


def asked(count):
    return [
        Request(Example(str(k), "image_centric", "drawn", "tools", "test", f"Question {k}"), seed=k)
        for k in range(count)
    ]


def number(request):
    return int(request.user.split()[1])


def texts(landing):
    return {place: response.text for some in landing for place, response in some}


def test_every_response_stands_at_its_place_whatever_the_order():
    four = threading.Barrier(4, timeout=30)

    def act(request):
        if number(request) < 4:
            four.wait()  # they are under way together
        time.sleep(0.02 * (5 - number(request) % 6))
        return says(f"Answer {number(request)}")

    with LocalEndpoint(by=act) as server:
        one = engine(server, concurrency=4)
        assert texts(one.landing(asked(24))) == {k: f"Answer {k}" for k in range(24)}
    assert server.most_at_once == 4
    assert one.notes == ["vllm:m: 24 requests for 24 rows were made just now"]


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
def test_how_a_response_ends(act, text, finish):
    with LocalEndpoint(act) as server:
        (((place, response),),) = engine(server).landing(asked(1))
    assert (place, response.text, response.finish, response.kl) == (0, text, finish, None)
    assert ("blocked" in response.remote) == (finish == "blocked")


def test_nothing_new_is_asked_before_what_landed_is_taken():
    with LocalEndpoint(says("a door")) as server:
        with closing(engine(server, concurrency=2).landing(asked(10))) as landing:
            done = len(next(landing))
            time.sleep(0.3)  # time enough for all the others
            assert len(server.requests) <= 2
            while done < 10:
                before = done
                done += len(next(landing))
                assert len(server.requests) <= before + 2 + 2
        assert len(server.requests) == 10


def test_what_landed_before_an_error_and_beside_it_is_kept():
    released = threading.Event()

    def act(request):
        if number(request) == 2:
            return fails(401)
        if number(request) == 3:  # under way when the error comes, and paid for
            released.wait(0.3)
        return says("a door")

    found = {}
    with LocalEndpoint(by=act) as server:
        one = engine(server, concurrency=2)
        with pytest.raises(CalibError, match="Check the key"):
            for some in one.landing(asked(20)):
                found |= dict(some)
    assert {0, 1} <= found.keys() <= {0, 1, 3}
    assert len(server.requests) == len(found) + 1
    assert one.rows == len(found)


def test_the_budget_is_spent_to_its_end_and_the_next_go_has_another():
    with LocalEndpoint(says("a door")) as server:
        one, found = engine(server, concurrency=3, max_requests=5), {}
        with pytest.raises(CalibError, match="model.max_requests=5"):
            for some in one.landing(asked(9)):
                found |= dict(some)
        assert len(found) == len(server.requests) == 5


def test_whoever_stops_listening_stops_the_asking():
    with LocalEndpoint(says("a door")) as server:
        one = engine(server, concurrency=2)
        with closing(one.landing(asked(40))) as landing:
            next(landing)
        asked_for = len(server.requests)
        assert asked_for <= 2
        time.sleep(0.2)
        assert len(server.requests) == asked_for
        assert len(texts(one.landing(asked(3)))) == 3  # and it may be asked again


def test_what_is_under_way_at_ctrl_c_is_waited_for(monkeypatch):
    both_again = threading.Event()  # two answers landed and two more questions are under way
    slow = LocalEndpoint(by=lambda request: act())

    def act():
        if len(slow.requests) == 4:
            both_again.set()
        time.sleep(0.1)
        return says("a door")

    class Interrupted:
        """A queue beside which the user presses Ctrl-C."""

        def __init__(self):
            self.queue, self.got = SimpleQueue(), 0
            self.put, self.empty = self.queue.put, lambda: True

        def get(self):
            self.got += 1
            if self.got == 3:
                assert both_again.wait(30)
                raise KeyboardInterrupt
            return self.queue.get()

    monkeypatch.setattr(remote, "SimpleQueue", Interrupted)
    found = {}
    with slow as server, pytest.raises(KeyboardInterrupt):
        for some in engine(server, concurrency=2).landing(asked(20)):
            found |= dict(some)
    assert len(found) == len(server.requests) == 4


def test_a_bug_is_no_trouble_of_the_endpoint():
    def broken():
        raise ZeroDivisionError

    rows = asked(5)
    rows[0] = Request(Example("x", "image_centric", "drawn", "t", "test", "Why 9?", picture=broken))
    with LocalEndpoint(says("a door")) as server, pytest.raises(ZeroDivisionError):
        texts(engine(server, concurrency=1).landing(rows))
    assert not server.requests
