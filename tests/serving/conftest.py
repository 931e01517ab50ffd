"""A served model behind a real socket, asked by the real client."""

import base64
import http.client
import io
import json
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="the serve extra brings fastapi and uvicorn")
pytest.importorskip("uvicorn", reason="the serve extra brings fastapi and uvicorn")

from calib.config.method import Steer  # noqa: E402
from calib.config.sweep import GenerationConfig
from calib.data.mini.examples import load  # noqa: E402
from calib.directions.direction import write_direction  # noqa: E402
from calib.interventions.fitting import Fitting  # noqa: E402
from calib.serving.app import Server, app_of  # noqa: E402
from calib.serving.calibrated import Calibrated  # noqa: E402
from calib.serving.refit import without_data  # noqa: E402
from calib.serving.server import address, listen, server_of  # noqa: E402

TOKENS = 12


@pytest.fixture(scope="session")
def steered(vlm, tmp_path_factory):
    """mini-internvl with the safety direction of a few pairs, at layers 2 and 3."""
    path = tmp_path_factory.mktemp("directions") / "d.safetensors"
    pairs = load(["image_centric", "text_centric"], 40)
    write_direction(path, Fitting(vlm, pairs, [], None, path.parent).direction("safety"))
    config = Steer(direction=str(path), layers=[2, 3], positions="all", strengths=[4.0])
    method = without_data(vlm, config)
    return Calibrated(vlm, "mini", method, 3, 4.0, [4.0])


class Running:
    """A server in a thread of this process."""

    def __init__(self, served, **settings):
        generation = GenerationConfig(max_new_tokens=TOKENS)
        self.server = Server(served, generation, **settings)
        self.socket = listen("127.0.0.1", 0)
        self.url = address("127.0.0.1", self.socket)
        self.port = self.socket.getsockname()[1]
        self.uvicorn = server_of(app_of(self.server))
        self.thread = threading.Thread(target=self.uvicorn.run, args=([self.socket],))

    def __enter__(self):
        self.thread.start()
        until = time.monotonic() + 20
        while not self.uvicorn.started and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.uvicorn.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()

    @property
    def worker(self):
        return self.server.worker

    def client(self, **settings):
        import openai

        given = {"api_key": "none", "max_retries": 0, "timeout": 60, **settings}
        return openai.OpenAI(base_url=self.url, **given)


@contextmanager
def running(served, **settings):
    with Running(served, **settings) as found:
        yield found


@pytest.fixture(scope="module")
def server(steered):
    with Running(steered) as found:
        yield found


@pytest.fixture
def client(server):
    with server.client() as found:
        yield found


def png(image, kind="PNG"):
    """A picture as a data URL, without loss."""
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def messages_of(example):
    """An example as a client would send it."""

    def user(query, picture):
        if picture is None:
            return {"role": "user", "content": query}
        image = {"type": "image_url", "image_url": {"url": png(picture())}}
        return {"role": "user", "content": [image, {"type": "text", "text": query}]}

    found = [{"role": "system", "content": example.system}] if example.system else []
    for turn in example.demonstrations:
        found += [user(turn.query, turn.picture), {"role": "assistant", "content": turn.response}]
    return [*found, user(example.query, example.picture)]


class Reply:
    """What came back over a plain connection."""

    def __init__(self, response):
        self.status_code, self.headers = response.status, response.headers
        self.text = response.read().decode()

    def json(self):
        return json.loads(self.text)


def send(server, method, path, body=None, headers=None, timeout=60):
    """One request, byte by byte as given; ``path`` begins behind the host."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        return Reply(connection.getresponse())
    finally:
        connection.close()


def post(server, content, kind="application/json", timeout=60, **headers):
    """A chat completion of any bytes, or of an object."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    given = {"Content-Type": kind, **headers}
    return send(server, "POST", "/v1/chat/completions", body, given, timeout)


def said(text):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="session")
def tools():
    """What tests of this folder share."""

    class Tools:
        pass

    found = Tools()
    found.running, found.png, found.messages_of, found.said = running, png, messages_of, said
    found.send, found.post = send, post
    found.tokens = TOKENS
    return found
