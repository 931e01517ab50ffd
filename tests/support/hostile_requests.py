"""Hostile bodies of requests to calib.serve, and hostile command lines and environments."""

import json
import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from damaged_pictures import encoded as picture
from hostile import Hostile, Place
from hostile_content import ESCAPE, HUGE, LONG, NOT_JSON, ODD, encoded
from in_process import command

from calib.engine.vllm.server.tensors import encode_tensor
from calib.serving.request_schema import parse_request
from calib.serving.steering_vectors import decode_vectors, decoded_size

MESSAGES = [{"role": "user", "content": "Hello"}]
PICTURE = encoded(picture("PNG"))


def body(content: bytes) -> Callable[[Place], Callable[[], Any]]:
    """Read a body as the server does, pictures and steering vectors included."""

    def call() -> None:
        chat, conversation = parse_request(content)
        conversation.decode_images(None)
        vectors = chat.vllm_xargs.apply_steering_vectors
        decoded_size(vectors, 6, 128)
        decode_vectors(vectors)
        chat.vllm_xargs.residual_layers(6)

    return lambda place: call


def _fields(**fields: Any) -> bytes:
    return json.dumps({"model": "mini", "messages": MESSAGES} | fields).encode()


def _image(url: Any, **more: Any) -> bytes:
    part = {"type": "image_url", "image_url": {"url": url}, **more}
    return _fields(messages=[{"role": "user", "content": [part]}])


def _vector(fields: dict[str, Any], tensor: dict[str, Any]) -> bytes:
    """A request with a steering vector."""
    activations = encode_tensor(torch.ones(1, 128)) | tensor
    vector = {"activations": activations, "layer_indices": [3]} | fields
    return _fields(vllm_xargs={"apply_steering_vectors": json.dumps([vector])})


def _bomb() -> str:
    import zstandard

    return encoded(zstandard.ZstdCompressor().compress(bytes(100 * 2**20)))


_TENSORS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no base64": ({}, {"data": "@@@"}),
    "cut base64": ({}, {"data": encode_tensor(torch.ones(1, 128))["data"][:-3]}),
    "base64 of a pickle": ({}, {"data": encoded(b"cos\nsystem\n(S'x'\ntR.")}),
    "zstd of zeros": ({}, {"data": _bomb()}),
    "a huge shape": ({}, {"shape": [10**9, 10**9]}),
    "a shape beyond numbers": ({}, {"shape": [HUGE]}),
    "a negative shape": ({}, {"shape": [-1, 128]}),
    "a deep shape": ({}, {"shape": [[[1]]]}),
    "999 dimensions": ({}, {"shape": [1] * 999}),
    "objects as numbers": ({}, {"dtype": "object", "original_dtype": "torch.float32"}),
    "an escape sequence as dtype": ({}, {"dtype": ESCAPE}),
    "a pickled tensor": ({}, {"compression": "cloudpickle"}),
    "no data": ({}, {"data": ""}),
    "a layer of 2^40": ({"layer_indices": [2**40]}, {}),
    "a negative layer": ({"layer_indices": [-1]}, {}),
    "an infinite scale": ({"scale": 1e308}, {}),
    "positions without end": ({"position_indices": list(range(100_000))}, {}),
    "a field of code": ({"fn": {"cloudpickle": "gASV"}}, {}),
}
_BODIES: dict[str, bytes] = {
    **NOT_JSON,
    "no messages": _fields(messages=[]),
    "messages as a text": _fields(messages="x"),
    "10^4 messages": _fields(messages=MESSAGES * 10_000),
    "a deep message": b'{"model": "m", "messages": ' + b"[" * 100_000,
    "millions of values": b'{"model": "m", "messages": [' + b"1," * 1_100_000 + b"1]}",
    "an unknown role": _fields(messages=[{"role": ESCAPE, "content": "x"}]),
    "half a character": _fields(messages=[{"role": "user", "content": "\ud83d"}]),
    "a number as content": _fields(messages=[{"role": "user", "content": HUGE}]),
    "10^4 parts": _fields(
        messages=[{"role": "user", "content": [{"type": "text", "text": "x"}] * 9999}]),
    "a huge temperature": _fields(temperature=HUGE),
    "temperature that is no number": b'{"model": "m", "temperature": NaN}',
    "a huge seed": _fields(seed=HUGE),
    "a huge number of tokens": _fields(max_tokens=HUGE),
    "long stops": _fields(stop=[LONG]),
    "empty stops": _fields(stop=[""]),
    "many stops": _fields(stop=["x"] * 99),
    "a template": _fields(chat_template="{{ 1 // 0 }}"),
    "hooks": _fields(vllm_xargs={"apply_hooks": "gASV"}),
    "vectors as a text": _fields(vllm_xargs={"apply_steering_vectors": "x"}),
    "deep vectors": _fields(vllm_xargs={"apply_steering_vectors": "[" * 100_000}),
    "unknown arguments": _fields(vllm_xargs={ESCAPE: 1}),
    "unknown fields of calib": _fields(calib={"a": 1}),
    "a picture on disk": _image("file:///etc/passwd"),
    "a picture elsewhere": _image("http://192.0.2.1/a.png"),
    "a picture that is no base64": _image("data:image/png;base64,@@@"),
    "a picture that is cut off": _image(f"data:image/png;base64,{PICTURE[:80]}"),
    "a picture of another type": _image(f"data:text/html;base64,{encoded(b'<html>')}"),
    "a list as picture": _image(["x"]),
    "a long header of a picture": _image(f"data:image/png{';a=b' * 10_000};base64,{PICTURE}"),
    "99 pictures": _fields(messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}] * 99}]),
}  # fmt: skip


def _odd_fields() -> list[Hostile]:
    names = ("model", "messages", "temperature", "max_tokens", "stop", "seed", "stream", "calib",
             "vllm_xargs", "chat_template_kwargs", "stream_options", "tools")  # fmt: skip
    return [
        Hostile(f"request, {name}: {kind}", body(_fields(**{name: ODD[kind]})), harmless=True)
        for number, name in enumerate(names)
        for kind in list(ODD)[number % 3 :: 3]
    ]


def requests() -> list[Hostile]:
    """Every hostile body of a request."""
    inputs = [Hostile(f"request: {what}", body(content)) for what, content in _BODIES.items()]
    inputs += [
        Hostile(f"steering vector: {what}", body(_vector(*fields)))
        for what, fields in _TENSORS.items()
    ]
    return inputs + _odd_fields()


_LINES: dict[str, list[str]] = {
    "an open bracket": ["runs=[a"],
    "an open quotation mark": ["runs='a"],
    "an escape sequence": [f"runs=[{ESCAPE}]"],
    "a key of an escape sequence": [f"{ESCAPE}=1"],
    "half a character": ["runs=[\udcff]"],
    "a zero byte": ["runs=[a\0b]"],
    "a long value": [f"runs=[{'x' * 100_000}]"],
    "a deep list": ["runs=" + "[" * 200 + "]" * 200],
    "a deep interpolation": ["runs=" + "${" * 100 + "}" * 100],
    "an interpolation of itself": ["runs=[${runs}]"],
    "a key from the environment": ["runs=[${oc.env:SECRET_API_KEY}]"],
    "a resolver that is absent": ["runs=[${evil:1}]"],
    "a target to instantiate": ["runs=[a]", "+_target_=os.system"],
    "a deleted setting": ["~runs"],
    "an absent group": ["+evil=1"],
    "an absolute option": ["runs=[a]", "+/etc/passwd=1"],
    "a package of its own": ["runs=[a]", "+model@evil=internvl"],
    "a sweep without -m": ["runs=[a],[b]", "columns=1,2"],
    "a flag that is absent": ["--evil"],
    "a function": ["runs=range(1000000000)"],
    "a huge number": [f"columns={HUGE}", "runs=[a]"],
    "not a number": ["columns=nan", "runs=[a]"],
    "equals signs": ["=====", "runs=[a]"],
    "nothing": [""],
    "a path of 5,000 characters": [f"runs=[{'a/' * 2_500}]"],
    "a device as a run": ["runs=[/dev/zero]"],
}
_ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no home": {"HOME": "/nonexistent"},
    "an odd terminal": {"TERM": ESCAPE, "COLUMNS": "-5"},
    "columns of a word": {"COLUMNS": "many", "LINES": "x"},
    "odd numbers of threads": {"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "-1"},
    "an odd job": {"SLURM_ARRAY_TASK_ID": ESCAPE, "RANK": ESCAPE, "WORLD_SIZE": "x"},
    "an odd locale": {"LC_ALL": "xx_YY.evil", "LANG": "\udcff"},
    "tracebacks of Hydra": {"HYDRA_FULL_ERROR": "evil"},
}


def _line(arguments: list[str]) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        def call() -> Any:
            with patch.dict(os.environ, {"SECRET_API_KEY": "canary-0123456789"}):
                done = command("plot", *arguments, f"out={place.folder}/out")
            assert "canary-0123456789" not in done.stderr + done.stdout
            return done

        return call

    return make


def _environment(variables: dict[str, str]) -> Callable[[Place], Callable[[], Any]]:
    def make(place: Place) -> Callable[[], Any]:
        def call() -> Any:
            with patch.dict(os.environ, variables):
                return command("plot", f"runs=[{place.folder}/absent]")

        return call

    return make


def lines() -> list[Hostile]:
    """Every hostile command line and environment."""
    inputs = [Hostile(f"command line: {what}", _line(line)) for what, line in _LINES.items()]
    inputs += [
        Hostile(f"environment: {what}", _environment(variables))
        for what, variables in _ENVIRONMENTS.items()
    ]
    return inputs
