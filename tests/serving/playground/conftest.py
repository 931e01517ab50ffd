"""A server with its playground."""

import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")

from server_thread import ServerThread  # noqa: E402

from calib.serving.playground.playground import Playground  # noqa: E402


@pytest.fixture(scope="module")
def server(steered):
    playground = Playground(steered, arguments=["method=steer", "port=0"])
    with ServerThread(steered, playground) as server:
        yield server
