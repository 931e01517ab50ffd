"""Clients that send or read slowly, or not at all, lose their connection and hold up nobody."""

import asyncio
import http.client
import json
import socket
import threading
from contextlib import contextmanager

import pytest
from server_thread import post, wait_until

from calib.serving.http import connection, limits
from calib.serving.http.limits import Limits
from calib.serving.http.responses import CompleteResponse
from calib.serving.http.server import create_server, listen

SOON = 0.2
"""Deadline of the tests, in seconds. No request that should succeed is sent under it."""
REQUEST = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
PARTIAL_HEAD = b"GET /health HTTP/1.1\r\nHost: local"


@pytest.fixture
def connect(server):
    """Opens connections to the server; ``received`` reads until the server closes them."""
    opened = []

    def connect(port=server.port):
        client = socket.create_connection(("127.0.0.1", port), timeout=30)
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.close()


def received(client):
    """Everything that the server sends until it closes the connection."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def error_of(reply):
    """Status and code of the last response in these bytes, which must be an error as JSON."""
    head, _, body = reply.rpartition(b"\r\n\r\n")
    status = int(head[head.rindex(b"HTTP/1.1 ") :].split()[1])
    return status, json.loads(body)["error"]["code"]


def test_silent_connections_are_closed(server, connect, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(connection, "HEAD_SECONDS", SOON)
        clients = [connect() for _ in range(20)]
        assert [received(client) for client in clients] == [b""] * 20
    assert post(server, REQUEST).status_code == 200


@pytest.mark.parametrize("before", [b"", HEALTH], ids=["first request", "later request"])
def test_a_head_that_does_not_arrive_in_time_gets_408(connect, monkeypatch, before):
    monkeypatch.setattr(connection, "HEAD_SECONDS", SOON)
    client = connect()
    client.sendall(before + PARTIAL_HEAD)
    assert error_of(received(client)) == (408, "timeout")


def test_a_byte_now_and_then_does_not_extend_the_deadline(connect, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 3 * SOON)
    client, ended = connect(), threading.Event()

    def trickle():
        while not ended.wait(SOON / 2):
            try:
                client.sendall(b"x")
            except OSError:
                return

    client.sendall(PARTIAL_HEAD)
    thread = threading.Thread(target=trickle)
    thread.start()
    assert b" 408 " in received(client)
    ended.set()
    thread.join()


def test_a_body_that_pauses_gets_408(server, connect, monkeypatch):
    monkeypatch.setattr(limits, "BODY_PAUSE", SOON)
    client = connect()
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{"
    )
    assert b" 408 " in client.recv(100)
    assert wait_until(lambda: server.limits.open_requests == 0)


def test_a_refused_request_whose_body_never_ends_is_closed(connect, monkeypatch):
    monkeypatch.setattr(connection, "LINGER_SECONDS", SOON)
    client = connect()
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: text/plain\r\nContent-Length: 100\r\n\r\n{"
    )
    assert error_of(received(client)) == (415, "invalid_content_type")


def test_what_is_not_http_gets_an_error_of_the_api(connect):
    client = connect()
    client.sendall(b"\0\1\2 not HTTP at all\r\n\r\n")
    assert error_of(received(client)) == (400, "invalid_http")


@contextmanager
def served(app):
    """The port of a server of any ASGI application."""
    listening = listen("127.0.0.1", 0)
    uvicorn = create_server(app)
    uvicorn.config.lifespan = "off"
    thread = threading.Thread(target=uvicorn.run, args=([listening],))
    thread.start()
    assert wait_until(lambda: uvicorn.started)
    try:
        yield listening.getsockname()[1], uvicorn.server_state
    finally:
        uvicorn.should_exit = True
        thread.join(30)
        listening.close()


def test_a_client_that_does_not_read_loses_its_response_and_its_slot(connect, monkeypatch):
    open_requests = Limits(1, 1)

    async def app(scope, receive, send):
        slot = open_requests.acquire()
        await CompleteResponse({"text": "x" * 30_000_000}, slot)(scope, receive, send)

    with served(app) as (port, state):
        with monkeypatch.context() as patch:
            patch.setattr(connection, "READER_SECONDS", SOON)
            client = connect(port)
            client.sendall(HEALTH)
            assert wait_until(lambda: open_requests.open_requests == 1)
            assert wait_until(lambda: open_requests.open_requests == 0 and not state.connections)
        # A client that reads gets all of it.
        reader = connect(port)
        reader.sendall(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert len(received(reader)) > 30_000_000


def test_beyond_the_limit_idle_connections_are_closed_and_then_new_ones_refused(
    connect, monkeypatch
):
    monkeypatch.setattr("calib.serving.http.server.file_limit", lambda: 130)  # two connections
    proceed = threading.Event()

    async def app(scope, receive, send):
        if scope["path"] == "/slow":
            await asyncio.to_thread(proceed.wait, 30)
        headers = [(b"content-length", b"0")]  # so that the response is one packet
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    slow = HEALTH.replace(b"/health", b"/slow")
    with served(app) as (port, state):
        idle, busy = connect(port), connect(port)
        idle.sendall(HEALTH)
        assert b" 200 " in idle.recv(1000)
        busy.sendall(slow)
        second = connect(port)
        second.sendall(slow)
        assert received(idle) == b""
        assert wait_until(lambda: len(state.tasks) == 2)
        assert error_of(received(connect(port))) == (503, "too_many_connections")
        proceed.set()
        for client in (busy, second):
            assert b" 200 " in client.recv(1000)


def test_connections_stay_open_for_further_requests(server):
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    sockets = set()
    for _ in range(3):
        client.request("GET", "/health")
        assert json.loads(client.getresponse().read())["restarts"] == 0
        sockets.add(client.sock)
    assert len(sockets) == 1
    client.close()
