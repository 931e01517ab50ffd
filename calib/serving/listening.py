"""The socket, and the server behind it until it is told to stop."""

import signal
import socket
import threading
from typing import Any

import uvicorn

from calib.errors import CalibError

GRACE = 5
"""Seconds that requests have to end when the server is told to stop."""
KEPT_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients keep theirs."""


def listen(host: str, port: int) -> socket.socket:
    """A socket at that address; requests that come before they are served wait.

    Raises CalibError where the address is not this machine's, or taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise CalibError(
            f"host={host} port={port} cannot be listened on ({error}). Give another port, or "
            "port=0 for one that is free."
        ) from error


def address(host: str, listening: socket.socket) -> str:
    """The base URL for clients."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}/v1"


def serve(app: Any, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, or until the caller's thread is not the main one and its
    process ends."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        # uvicorn stops cleanly, then raises the signal again for whoever stands behind it.
        for one in (signal.SIGINT, signal.SIGTERM):
            before[one] = signal.signal(one, lambda *_: None)
    try:
        server_of(app).run(sockets=[listening])
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        listening.close()


def server_of(app: Any) -> uvicorn.Server:
    """uvicorn as it is run here: quiet, for it would log who asks."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEPT_ALIVE,
            timeout_graceful_shutdown=GRACE,
        )
    )
