"""The socket, the server loop until it is stopped, and the start-up message."""

import json
import signal
import socket
import threading
from typing import Any

import uvicorn

from calib.serving.calibrated import Calibrated
from calib.util.errors import CalibError


def banner(served: Calibrated, url: str, key_env: str | None) -> list[str]:
    """Lines for the terminal; the key itself is in none of them."""
    method = served.method
    lines = [f"serving    {url}"]
    if method is None:
        lines += [f"model      {served.names[0]}"]
    else:
        layer = "no layer of its own" if served.layer is None else f"layer {served.layer}"
        lines += [
            f"model      {served.name}: {method.name}, {layer}, strength {served.strength:g} "
            f"({method.axis.meaning})",
            f"model      {served.names[1]}: as it is",
        ]
    key = f"$(printenv {key_env})" if key_env else ""
    header = f' -H "Authorization: Bearer {key}"' if key_env else ""
    messages = [{"role": "user", "content": "Hello"}]
    asked = json.dumps({"model": served.names[0], "messages": messages})
    api_key = f'os.environ["{key_env}"]' if key_env else '"none"'
    again = ', extra_body={"calib": {"strength": 2}}' if method and not method.axis.integer else ""
    return [
        *lines,
        "",
        f"  curl {url}/chat/completions -H 'Content-Type: application/json'{header} -d '{asked}'",
        "",
        f'  client = openai.OpenAI(base_url="{url}", api_key={api_key})',
        f'  client.chat.completions.create(model="{served.names[0]}", '
        f"messages={json.dumps(messages)}{again})",
        "",
        "Ctrl-C stops it.",
    ]


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
