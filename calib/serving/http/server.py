"""The socket, the uvicorn server and the message that the command prints at startup."""

import contextlib
import errno
import ipaddress
import json
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

from calib.serving.http.connection import limited_connections
from calib.util.errors import CalibError

if TYPE_CHECKING:
    from calib.serving.served_model import ServedModel

GRACE_SECONDS = 5
"""Time that open requests have to end when the server stops."""
KEEP_ALIVE_SECONDS = 75
"""Time that an idle connection stays open; longer than clients keep theirs."""


MAX_FILES = 8192
"""Largest number of open files that the server asks the system for."""
RESERVED_FILES = 128
"""Open files that are no connections: libraries, weights, pipes."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; connections queue until the server runs.

    Raises CalibError if the address is in use or does not belong to this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise CalibError(
            "in-use"
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            else "invalid-setting",
            f"Cannot listen on host={host} port={port} ({error}). Give another port, or port=0 for "
            "a free one.",
        ) from error


def address(host: str, listening: socket.socket) -> str:
    """The base URL for clients on this machine: with host=0.0.0.0 that of the loopback address."""
    bound = ipaddress.ip_address(listening.getsockname()[0])
    name = f"[{host}]" if ":" in host else host
    if bound.is_unspecified:
        name = "127.0.0.1" if bound.version == 4 else "[::1]"
    return f"http://{name}:{listening.getsockname()[1]}/v1"


def serve(app: Any, listening: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; outside the main thread, until the process ends."""
    previous_handlers = {}
    if threading.current_thread() is threading.main_thread():
        # After a clean stop uvicorn raises the signal again, which must not end the process.
        for number in (signal.SIGINT, signal.SIGTERM):
            previous_handlers[number] = signal.signal(number, lambda *_: None)
    try:
        create_server(app).run(sockets=[listening])
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        listening.close()


def create_server(app: Any) -> uvicorn.Server:
    """The uvicorn server, with deadlines for clients and without access logs, which would record
    them."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=limited_connections(file_limit() - RESERVED_FILES),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )


def file_limit() -> int:
    """The largest number of open files of this process, raised as far as the system allows.

    A connection is an open file, and the usual limit of 1,024 is less than the clients of a large
    evaluation may open.
    """
    try:
        import resource
    except ImportError:  # Windows, where no such limit applies to sockets
        return MAX_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = MAX_FILES if hard == unlimited else min(MAX_FILES, hard)
    if soft != unlimited and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return MAX_FILES if soft == unlimited else min(MAX_FILES, soft)


def banner(
    served: "ServedModel", url: str, key_env: str | None, playground: bool = False
) -> list[str]:
    """Lines for the terminal: URLs, models, and example requests without the key itself."""
    lines = [f"serving    {url}"]
    if playground:
        lines.append(f"playground {url.removesuffix('v1')}")
    method = served.method
    for each in served.methods:
        lines += _model_lines(each)
    if method is not None:
        lines.append(f"model      {served.names[1]}: uncalibrated")
    key = f"$(printenv {key_env})" if key_env else ""
    header = f' -H "Authorization: Bearer {key}"' if key_env else ""
    messages = [{"role": "user", "content": "Hello"}]
    body = json.dumps({"model": served.names[0], "messages": messages})
    api_key = f'os.environ["{key_env}"]' if key_env else '"none"'
    has_scale = method is not None and not method.axis.integer
    override = ', extra_body={"calib": {"strength": 2}}' if has_scale else ""
    return [
        *lines,
        "",
        f"  curl {url}/chat/completions -H 'Content-Type: application/json'{header} -d '{body}'",
        "",
        f'  client = openai.OpenAI(base_url="{url}", api_key={api_key})',
        f'  client.chat.completions.create(model="{served.names[0]}", '
        f"messages={json.dumps(messages)}{override})",
        "",
        "Press Ctrl-C to stop.",
    ]


def _model_lines(served: "ServedModel") -> list[str]:
    method = served.method
    if method is None:
        return [f"model      {served.names[0]}"]
    layer = "no single layer" if served.layer is None else f"layer {served.layer}"
    lines = [
        f"model      {served.name}: {method.name}, {layer}, strength {served.strength:g} "
        f"({method.axis.meaning})"
    ]
    return [*lines, f"verdict    {served.verdict}"] if served.verdict else lines
