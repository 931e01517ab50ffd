"""Limits on bodies and open requests, the API key, and the names of the host."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from server_thread import ServerThread, post, send, wait_until

from calib.serving.http import limits
from calib.serving.http.access import Access
from calib.serving.job import ResponseTracker

REQUEST = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n{"
)


def padded(size):
    """A request whose body has at least this many bytes."""
    return {**REQUEST, "user": "x" * size}


def require(reply, status, code):
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    return reply.json()["error"]


def test_bodies_over_the_limit_are_refused(steered):
    with ServerThread(steered, body_mb=1) as server:
        for size in (2**20, 2**20 + 1, 5 * 2**20):
            require(post(server, padded(size)), 413, "request_too_large")
        assert post(server, padded(2**20 - 200)).status_code == 200
        assert server.limits.open_bytes == 0
        with server.client() as client, pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**padded(3 * 2**20))
        assert caught.value.status_code == 413


def test_all_open_bodies_together_are_limited(steered, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TOTAL_BYTES", 100_000)
    with ServerThread(steered) as server:
        error = require(post(server, padded(200_000)), 429, "queue_full")
        assert error["type"] == "rate_limit_error"
        assert post(server, REQUEST).status_code == 200
        assert server.limits.open_bytes == 0


def test_requests_beyond_the_limit_get_429(steered, monkeypatch):
    proceed, update = threading.Event(), ResponseTracker.update
    monkeypatch.setattr(
        ResponseTracker, "update", lambda self, text: (proceed.wait(30), update(self, text))[1]
    )
    with ServerThread(steered, waiting=3) as server, ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(post, server, REQUEST) for _ in range(3)]
        assert wait_until(lambda: server.limits.open_requests == 3)
        reply = post(server, REQUEST)
        require(reply, 429, "queue_full")
        assert reply.headers["Retry-After"] == "1"
        assert send(server, "GET", "/health").json()["status"] == "ok"
        proceed.set()
        assert [future.result().status_code for future in waiting] == [200] * 3
        assert post(server, REQUEST).status_code == 200


def test_a_body_that_never_arrives_gets_408(steered, monkeypatch):
    with ServerThread(steered) as server:
        with (
            monkeypatch.context() as patch,
            socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
        ):
            patch.setattr(limits, "BODY_TIMEOUT", 0.3)
            connection.sendall(HEAD % 100)
            assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert wait_until(lambda: server.limits.open_requests == 0)
        assert post(server, REQUEST).status_code == 200


def test_clients_that_disconnect_while_sending_release_their_slots(server):
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(HEAD % 100_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"\0\1\2 not HTTP at all\r\n\r\n")
    assert wait_until(lambda: server.limits.open_requests == 0)
    assert server.limits.open_bytes == 0
    assert post(server, REQUEST).status_code == 200


def test_every_route_but_health_needs_the_key(steered):
    with ServerThread(steered, access=Access("s3cret-ü", ["example.com"])) as server:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "s3cret-ü".encode()},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Bearer "},
        ):
            reply = post(server, REQUEST, **headers)
            assert require(reply, 401, "invalid_api_key")["type"] == "authentication_error"
            assert "s3cret" not in reply.text
        assert send(server, "GET", "/v1/models").status_code == 401
        assert send(server, "GET", "/v1/models/mini").status_code == 401
        assert send(server, "GET", "/health").status_code == 200
        correct = {"Authorization": "Bearer s3cret-ü".encode()}
        assert post(server, REQUEST, **correct).status_code == 200
        assert post(server, REQUEST, Host="example.com", **correct).status_code == 200
        require(post(server, REQUEST, Host="example.org", **correct), 403, "unknown_host")
    with ServerThread(steered, access=Access("plain")) as server:
        with server.client(api_key="plain") as client:
            assert client.chat.completions.create(**REQUEST).choices
        with server.client(api_key="plaim") as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**REQUEST)


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "evil:8000", ""])
def test_other_hosts_are_refused_without_a_key(server, host):
    require(post(server, REQUEST, Host=host), 403, "unknown_host")
    assert send(server, "GET", "/v1/models", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:99", "127.0.0.1", "[::1]:80", "[::1]"])
def test_loopback_hosts_are_accepted(server, host):
    assert post(server, REQUEST, Host=host).status_code == 200
