"""Requests to the server's application in this process, without a socket."""

from contextlib import contextmanager

from starlette.testclient import TestClient

from calib.config.sweep import GenerationConfig
from calib.serving.app import Server, create_app


@contextmanager
def asgi_client(served, tokens=2, **settings):
    """A client of a server whose responses have at most ``tokens`` tokens, unless a request says
    otherwise."""
    server = Server(served, GenerationConfig(max_new_tokens=tokens), **settings)
    with TestClient(
        create_app(server), base_url="http://localhost", raise_server_exceptions=False
    ) as client:
        yield client, server
