"""Clients of the soak test: some wait for their response, others hang up, stall or read slowly."""

import asyncio
import base64
import io
import json
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11
from PIL import Image

PATIENCE = 600.0
"""Seconds after which a client that waits counts as lost; far more than any queue takes."""
OUTCOMES = ("answered", "refused", "failed", "left", "lost")
"""Refused: 4xx as JSON. Failed: 5xx as JSON. Left: the client did not wait for a response. Lost: it
did, and got neither a complete response nor an error as JSON."""


@dataclass
class Client:
    """One client with one request."""

    host: str
    port: int
    model: str
    draw: random.Random

    async def run(self) -> str:
        """Send the request in a randomly chosen manner; one of OUTCOMES."""
        manners, weights = zip(*MANNERS, strict=True)
        (manner,) = self.draw.choices(manners, weights)
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    result = await manner(self, reader, writer)
                finally:
                    writer.close()
        except TimeoutError:  # the server left the connection open
            result = "lost"
        except OSError:
            result = "lost" if manner in WAITING else "left"
        if result == "lost":
            print(f"lost: a client that should {manner.__name__}")
        return result

    def request(self, stream: bool = False, picture: bool = False, **fields: object) -> bytes:
        """The bytes of a request for a short response; some requests have a longer one."""
        content: object = f"What is {self.draw.randrange(1000)}?"
        if picture:
            url = {"url": _picture(self.draw)}
            content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": content}]
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.draw.choice((4, 4, 4, 32)),
            "stream": stream,
            **fields,
        }
        return self.post(json.dumps(body).encode())

    def post(self, body: bytes) -> bytes:
        """The bytes of a request with this body, after which the connection is closed."""
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )


async def wait(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Wait for the whole response."""
    stream = client.draw.random() < 0.4
    writer.write(client.request(stream, picture=client.draw.random() < 0.2))
    return outcome(await reader.read(-1))


async def read_slowly(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Read a stream in small parts, with pauses."""
    writer.write(client.request(stream=True))
    parts = []
    while part := await reader.read(100):
        parts.append(part)
        await asyncio.sleep(client.draw.random() / 10)
    return outcome(b"".join(parts))


async def send_invalid(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Send what the server must refuse."""
    requests = (
        client.post(b"not JSON"),
        client.request(temperature=-1),
        client.request(messages=[]),
        client.request(messages=_bomb(8)),
        client.request().replace(b"Host: localhost", b"Host: evil.example"),
        client.request().replace(b"application/json", b"text/plain"),
        client.request().replace(b"/v1/chat", b"/v2/chat"),
        b"not HTTP\r\n\r\n",
    )
    writer.write(client.draw.choice(requests))
    answer = outcome(await reader.read(-1))
    return "lost" if answer == "answered" else answer


async def hang_up(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Close the connection at a random moment after the request, often without a goodbye."""
    writer.write(client.request(client.draw.random() < 0.5, client.draw.random() < 0.2))
    await writer.drain()
    await asyncio.sleep(client.draw.choice((0, 0.001, 0.005, 0.02, 0.2, 1)) * client.draw.random())
    if client.draw.random() < 0.5:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return "left"


async def send_a_part(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Close the connection within the request."""
    request = client.request(picture=client.draw.random() < 0.2)
    writer.write(request[: client.draw.randrange(len(request))])
    await writer.drain()
    return "left"


async def stall(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Send a part of the request, then wait: the server must end the connection."""
    request = client.request()
    writer.write(request[: client.draw.randrange(len(request))])
    await reader.read(-1)
    return "left"


async def close_half(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Close the sending half, and read until the server closes the other."""
    writer.write(client.request(client.draw.random() < 0.5))
    writer.write_eof()
    await reader.read(-1)
    return "left"


async def cancel_stream(
    client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str:
    """Close the connection after some events of a stream."""
    writer.write(client.request(stream=True))
    for _ in range(client.draw.randrange(6)):
        await reader.read(client.draw.randrange(1, 2000))
    return "left"


MANNERS: tuple[
    tuple[Callable[[Client, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[str]], float],
    ...,
] = (
    (wait, 60),
    (read_slowly, 2),
    (send_invalid, 8),
    (hang_up, 12),
    (send_a_part, 6),
    (stall, 2),
    (close_half, 4),
    (cancel_stream, 6),
)
"""Manners and how often each is chosen."""
WAITING = (wait, read_slowly, send_invalid)
"""Manners in which the client waits for a response."""


def outcome(received: bytes) -> str:
    """The outcome of a request whose client read these bytes until the connection was closed."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "localhost")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(received)
    connection.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return "lost"
        if status == 200 and body.startswith(b"data: "):
            events = body.decode().split("\n\n")
            if events[-2:] == ["data: [DONE]", ""]:
                return "answered"
            status, body = 500, events[-2].removeprefix("data: ").encode()
        content = json.loads(body)
    except (h11.RemoteProtocolError, ValueError, IndexError):
        return "lost"
    if status == 200:
        return "answered" if content["choices"] else "lost"
    if not content.get("error", {}).get("message"):
        return "lost"
    return "failed" if status >= 500 else "refused"


def _picture(draw: random.Random) -> str:
    # Few different pictures: the server caches their features, in a cache of fixed size.
    side = draw.choice((16, 50, 200))
    file = io.BytesIO()
    Image.new("RGB", (side, 100), (draw.randrange(8), 0, 0)).save(file, "PNG")
    return _data_url(file.getvalue())


def _bomb(count: int) -> list[dict[str, object]]:
    """Messages with pictures of 7,999 x 7,999 pixels, 8 KiB each."""
    if not _BOMBS:
        file = io.BytesIO()
        Image.new("1", (7999, 7999)).save(file, "PNG", optimize=True)
        _BOMBS.append(_data_url(file.getvalue()))
    parts = [{"type": "image_url", "image_url": {"url": _BOMBS[0]}}] * count
    return [{"role": "user", "content": parts}]


_BOMBS: list[str] = []


def _data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()
