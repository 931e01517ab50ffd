"""A server in a thread of this process, and clients that send requests to it."""

import base64
import http.client
import io
import json
import threading
import time

from calib.config.sweep import GenerationConfig
from calib.serving.app import Server, create_app
from calib.serving.http.server import address, create_server, listen

TOKENS = 12
"""Response tokens of a server whose test does not say otherwise."""


class ServerThread:
    """Serves a model on a free port while the context is open."""

    def __init__(self, served, playground=None, **settings):
        generation = GenerationConfig(max_new_tokens=TOKENS)
        self.server = Server(served, generation, **settings)
        self.socket = listen("127.0.0.1", 0)
        self.url = address("127.0.0.1", self.socket)
        self.port = self.socket.getsockname()[1]
        self.uvicorn = create_server(create_app(self.server, playground))
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],))

    def __enter__(self):
        self.thread.start()
        assert wait_until(lambda: self.uvicorn.started)
        return self

    def __exit__(self, *_):
        self.uvicorn.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()

    @property
    def worker(self):
        return self.server.worker

    @property
    def limits(self):
        return self.server.limits

    def client(self, **settings):
        import openai

        defaults = {"api_key": "none", "max_retries": 0, "timeout": 60}
        return openai.OpenAI(base_url=self.url, **{**defaults, **settings})


class Reply:
    """The response to a request over a plain connection."""

    def __init__(self, response):
        self.status_code, self.headers = response.status, response.headers
        self.text = response.read().decode()

    def json(self):
        return json.loads(self.text)


def send(server, method, path, body=None, headers=None, timeout=60):
    """Send one request with exactly these bytes and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        return Reply(connection.getresponse())
    finally:
        connection.close()


def post(server, content, kind="application/json", timeout=60, **headers):
    """Send a chat-completions request whose body is bytes, or an object as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Type": kind, **headers}
    return send(server, "POST", "/v1/chat/completions", body, headers, timeout)


def wait_until(condition, seconds=120):
    """Wait until the condition is true; the time only bounds a failing test."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def data_url(image, kind="PNG"):
    """An image as a data URL."""
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def user_message(text):
    """Messages with one user message."""
    return [{"role": "user", "content": text}]


def messages_of(example):
    """An example as the messages a client would send."""

    def user(query, picture):
        if picture is None:
            return {"role": "user", "content": query}
        image = {"type": "image_url", "image_url": {"url": data_url(picture())}}
        return {"role": "user", "content": [image, {"type": "text", "text": query}]}

    messages = [{"role": "system", "content": example.system}] if example.system else []
    for turn in example.demonstrations:
        messages += [
            user(turn.query, turn.picture),
            {"role": "assistant", "content": turn.response},
        ]
    return [*messages, user(example.query, example.picture)]
