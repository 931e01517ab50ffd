"""Who may ask, how much, and how many at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from calib.serving import limits as admission
from calib.serving.job import Telling

GOOD = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


def filled(size):
    """A body of at least so many bytes."""
    return {**GOOD, "user": "x" * size}


def require(reply, status, code):
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    return reply.json()["error"]


def test_bodies_that_are_too_large(steered, tools):
    with tools.running(steered, body_mb=1) as server:
        for size in (2**20, 2**20 + 1, 5 * 2**20):
            require(tools.post(server, filled(size)), 413, "request_too_large")
        assert tools.post(server, filled(2**20 - 200)).status_code == 200
        assert server.server.admission.bytes == 0
        with server.client() as client, pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**filled(3 * 2**20))
        assert caught.value.status_code == 413


def test_all_bodies_together_have_a_limit(steered, tools, monkeypatch):
    monkeypatch.setattr(admission, "TOGETHER", 100_000)
    with tools.running(steered) as server:
        error = require(tools.post(server, filled(200_000)), 429, "queue_full")
        assert error["type"] == "rate_limit_error"
        assert tools.post(server, GOOD).status_code == 200
        assert server.server.admission.bytes == 0


def test_more_than_can_wait_are_told_to_come_again(steered, tools):
    held, enough = threading.Event(), Telling.enough
    Telling.enough = lambda self, text: (held.wait(30), enough(self, text))[1]
    try:
        with tools.running(steered, waiting=3) as server, ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(tools.post, server, GOOD) for _ in range(3)]
            until = time.monotonic() + 10
            while server.server.admission.here < 3 and time.monotonic() < until:
                time.sleep(0.01)
            reply = tools.post(server, GOOD)
            require(reply, 429, "queue_full")
            assert reply.headers["Retry-After"] == "1"
            assert tools.send(server, "GET", "/health").json()["status"] == "ok"
            held.set()
            assert [one.result().status_code for one in waiting] == [200] * 3
            assert tools.post(server, GOOD).status_code == 200
    finally:
        Telling.enough = enough


def test_a_body_that_never_comes_is_given_up(steered, tools, monkeypatch):
    import socket

    monkeypatch.setattr(admission, "ARRIVING", 0.3)
    with tools.running(steered) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert server.server.admission.here == 0
        assert tools.post(server, GOOD).status_code == 200


def test_a_client_that_leaves_while_it_sends(server, tools):
    import socket

    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
            )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"\0\1\2 no http at all\r\n\r\n")
    until = time.monotonic() + 10
    while server.server.admission.here and time.monotonic() < until:
        time.sleep(0.01)
    assert server.server.admission.here == 0 == server.server.admission.bytes
    assert tools.post(server, GOOD).status_code == 200


def test_the_key(steered, tools):
    with tools.running(steered, key="s3cret-ü") as server:
        for given in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "s3cret-ü".encode()},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Bearer "},
        ):
            reply = tools.post(server, GOOD, **given)
            assert require(reply, 401, "invalid_api_key")["type"] == "authentication_error"
            assert "s3cret" not in reply.text
        assert tools.send(server, "GET", "/v1/models").status_code == 401
        assert tools.send(server, "GET", "/v1/models/mini").status_code == 401
        assert tools.send(server, "GET", "/health").status_code == 200
        right = {"Authorization": "Bearer s3cret-ü".encode()}
        assert tools.post(server, GOOD, **right).status_code == 200
        # A key is enough: it may be asked under any name.
        assert tools.post(server, GOOD, Host="example.com", **right).status_code == 200
    with tools.running(steered, key="plain") as server:
        with server.client(api_key="plain") as client:
            assert client.chat.completions.create(**GOOD).choices
        with server.client(api_key="plaim") as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**GOOD)


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "evil:8000", ""])
def test_other_names_of_this_machine(server, tools, host):
    require(tools.post(server, GOOD, Host=host), 403, "unknown_host")
    assert tools.send(server, "GET", "/v1/models", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1", "[::1]:80", "[::1]"])
def test_its_own_names(server, tools, host):
    assert tools.post(server, GOOD, Host=host).status_code == 200


def test_open_to_others_any_name_will_do(steered, tools):
    with tools.running(steered, local=False) as server:
        assert tools.post(server, GOOD, Host="example.com").status_code == 200
