"""What is not served gets an error of OpenAI's shape; the server goes on."""

import base64
import io
import json
import struct
import zlib

import openai
import pytest
from PIL import Image

GOOD = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


def shown(url, role="user", **more):
    image = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": role, "content": [image, {"type": "text", "text": "?"}]}], **more}


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A PNG of that size in a few bytes, and what would be its pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000_000)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def b64(data, kind="image/png"):
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def small():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(file, "PNG")
    return file.getvalue()


ONE = b64(small())
TWICE = [
    {"type": "image_url", "image_url": {"url": ONE}},
    {"type": "image_url", "image_url": {"url": ONE}},
    {"type": "text", "text": "?"},
]

BODIES = {
    # name: (body over GOOD, status, param, code); body None takes a field away
    "no model": ({"model": None}, 400, "model", None),
    "a model that is a number": ({"model": 3}, 400, "model", None),
    "an unknown model": ({"model": "gpt"}, 404, "model", "model_not_found"),
    "nearly the model": ({"model": "mini-uncalibrate"}, 404, "model", "model_not_found"),
    "a huge model": ({"model": "m" * 100_000}, 404, "model", "model_not_found"),
    "no messages": ({"messages": None}, 400, "messages", None),
    "empty messages": ({"messages": []}, 400, "messages", None),
    "messages as a text": ({"messages": "Hello"}, 400, "messages", None),
    "messages of texts": ({"messages": ["Hello"]}, 400, "messages[0]", None),
    "messages of null": ({"messages": [None]}, 400, "messages[0]", None),
    "messages as an object": ({"messages": {"role": "user"}}, 400, "messages", None),
    "too many messages": (chat(*[("user", "a")] * 2000), 400, "messages", "too_many_messages"),
    "no role": ({"messages": [{"content": "a"}]}, 400, "messages[0].role", None),
    "a role that is a list": ({"messages": [{"role": [], "content": "a"}]}, 400, None, None),
    "an unknown role": (chat(("tool", "a")), 400, "messages[0].role", None),
    "no content": ({"messages": [{"role": "user"}]}, 400, "messages[0].content", None),
    "content null": (chat(("user", None)), 400, "messages[0].content", None),
    "content a number": (chat(("user", 3)), 400, "messages[0].content", None),
    "content an object": (chat(("user", {"type": "text"})), 400, "messages[0].content", None),
    "no parts": (chat(("user", [])), 400, "messages[0].content", None),
    "a part that is a text": (chat(("user", ["a"])), 400, "messages[0].content[0].type", None),
    "a part of another kind": (
        chat(("user", [{"type": "input_audio"}])), 400, None, "unsupported_value",
    ),
    "a text part without": (chat(("user", [{"type": "text"}])), 400, None, "invalid_type"),
    "too many parts": (chat(("user", [{"type": "text", "text": "a"}] * 999)), 400, None, None),
    "half a surrogate": (chat(("user", "\ud800")), 400, "messages[0].content", None),
    "the assistant last": (chat(("user", "a"), ("assistant", "b")), 400, None, "invalid_messages"),
    "two of the user": (chat(("user", "a"), ("user", "b")), 400, None, "invalid_messages"),
    "the assistant first": (chat(("assistant", "a"), ("user", "b")), 400, None, "invalid_messages"),
    "a system message alone": (chat(("system", "a")), 400, None, "invalid_messages"),
    "two system messages": (
        chat(("system", "a"), ("system", "b"), ("user", "c")), 400, None, "invalid_messages",
    ),
    "a late system message": (
        chat(("user", "a"), ("system", "b"), ("user", "c")), 400, None, "invalid_messages",
    ),
    "tool calls": (
        {"messages": [{"role": "user", "content": "a", "tool_calls": [{}]}]}, 400, None,
        "unsupported_value",
    ),
    "a picture of the assistant": (
        {"messages": [GOOD["messages"][0], *shown(ONE, "assistant")["messages"],
                      GOOD["messages"][0]]}, 400, None, "invalid_messages",
    ),
    "a picture of the system": (
        {"messages": [*shown(ONE, "system")["messages"], GOOD["messages"][0]]}, 400, None,
        "invalid_messages",
    ),
    "two pictures in a turn": (chat(("user", TWICE)), 400, None, "too_many_images"),
    "an address": (shown("http://127.0.0.1:1/a.png"), 400, None, "invalid_image_url"),
    "a file": (shown("file:///etc/passwd"), 400, None, "invalid_image_url"),
    "a path": (shown("/etc/passwd"), 400, None, "invalid_image_url"),
    "a data URL as text": (shown("data:image/png,abc"), 400, None, "invalid_image_url"),
    "no URL": (shown(None), 400, None, "invalid_type"),
    "a URL that is a number": (shown(7), 400, None, "invalid_type"),
    "an empty URL": (shown(""), 400, None, "invalid_image_url"),
    "bad base64": (shown("data:image/png;base64,@@@@"), 400, None, "invalid_base64"),
    "cut base64": (shown("data:image/png;base64,abc"), 400, None, "invalid_base64"),
    "no bytes": (shown("data:image/png;base64,"), 400, None, "invalid_image"),
    "no picture": (shown(b64(b"hello there")), 400, None, "invalid_image"),
    "half a picture": (shown(b64(small()[:40])), 400, None, "invalid_image"),
    "another format": (
        shown(b64(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")), 400, None,
        "invalid_image",
    ),
    "a picture of 10^10 pixels": (shown(bomb(100_000, 100_000)), 400, None, "invalid_image"),
    "a picture of 65 million": (shown(bomb(8100, 8100)), 400, None, "invalid_image"),
    "a picture of no size": (shown(bomb(0, 0)), 400, None, "invalid_image"),
    "max_tokens 0": ({"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
    "max_tokens below 0": ({"max_tokens": -1}, 400, "max_tokens", "invalid_value"),
    "max_tokens huge": ({"max_tokens": 10**30}, 400, "max_tokens", "invalid_value"),
    "max_tokens as a text": ({"max_tokens": "5"}, 400, "max_tokens", "invalid_type"),
    "max_tokens true": ({"max_tokens": True}, 400, "max_tokens", "invalid_type"),
    "max_tokens 1.5": ({"max_tokens": 1.5}, 400, "max_tokens", "invalid_type"),
    "two limits": ({"max_completion_tokens": 3}, 400, "max_tokens", None),
    "more than the context": ({"max_tokens": 5000}, 400, "messages", "context_length_exceeded"),
    "a long prompt": (
        chat(("user", "knife " * 3000)), 400, "messages", "context_length_exceeded",
    ),
    "a very long prompt": (
        chat(("user", "knife " * 30_000)), 400, "messages", "context_length_exceeded",
    ),
    "the word for a picture": (
        chat(("user", "What is <IMG_CONTEXT>?")), 400, "messages", "invalid_messages",
    ),
    "the word for a film": (chat(("user", "<video>")), 400, "messages", "invalid_messages"),
    "the word in an earlier turn": (
        chat(("user", "a"), ("assistant", "<IMG_CONTEXT>"), ("user", "b")), 400, "messages",
        "invalid_messages",
    ),
    "the word beside a picture": (
        chat(("user", [*TWICE[1:2], {"type": "text", "text": "<IMG_CONTEXT>"}])), 400, None, None,
    ),
    "temperature below 0": ({"temperature": -1}, 400, "temperature", "invalid_value"),
    "temperature 3": ({"temperature": 3}, 400, "temperature", "invalid_value"),
    "temperature huge": ({"temperature": 10**400}, 400, "temperature", "invalid_value"),
    "temperature a list": ({"temperature": [1]}, 400, "temperature", "invalid_type"),
    "top_p 0": ({"top_p": 0}, 400, "top_p", "invalid_value"),
    "top_p 2": ({"top_p": 2}, 400, "top_p", "invalid_value"),
    "a seed of 2^63": ({"seed": 2**63}, 400, "seed", "invalid_value"),
    "a seed with a fraction": ({"seed": 0.5}, 400, "seed", "invalid_type"),
    "two answers": ({"n": 2}, 400, "n", "unsupported_value"),
    "n true": ({"n": True}, 400, "n", "unsupported_value"),
    "logprobs": ({"logprobs": True}, 400, "logprobs", "unsupported_value"),
    "tools": ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_value"),
    "JSON mode": (
        {"response_format": {"type": "json_object"}}, 400, "response_format", "unsupported_value",
    ),
    "a penalty": ({"presence_penalty": 0.5}, 400, "presence_penalty", "unsupported_value"),
    "a bias": ({"logit_bias": {"5": 100}}, 400, "logit_bias", "unsupported_value"),
    "top_k": ({"top_k": 5}, 400, "top_k", "unsupported_value"),
    "stream as a text": ({"stream": "yes"}, 400, "stream", None),
    "stream options": ({"stream_options": []}, 400, "stream_options", "invalid_type"),
    "include_usage": ({"stream_options": {"include_usage": 1}}, 400, None, None),
    "stop a number": ({"stop": 3}, 400, "stop", "invalid_type"),
    "stop of nothing": ({"stop": [""]}, 400, "stop", "invalid_type"),
    "stop of null": ({"stop": [None]}, 400, "stop", "invalid_type"),
    "many stops": ({"stop": ["a"] * 17}, 400, "stop", None),
    "a long stop": ({"stop": "a" * 2000}, 400, "stop", None),
    "calib a number": ({"calib": 3}, 400, "calib", "invalid_type"),
    "an unknown setting": ({"calib": {"strengh": 1}}, 400, "calib", None),
    "strength a text": ({"calib": {"strength": "1"}}, 400, "calib.strength", "invalid_type"),
    "strength huge": ({"calib": {"strength": 10**400}}, 400, "calib.strength", "invalid_value"),
    "strength that breaks it": ({"calib": {"strength": 1e39}}, 400, "calib.strength", "not_finite"),
    "layer that is not": ({"calib": {"layer": 5}}, 400, "calib.layer", None),
    "layer below 0": ({"calib": {"layer": -1}}, 400, "calib.layer", "invalid_value"),
    "layer a list": ({"calib": {"layer": [3]}}, 400, "calib.layer", "invalid_type"),
    "a strength of none": (
        {"model": "mini-uncalibrated", "calib": {"strength": 2}}, 400, "calib", None,
    ),
}  # fmt: skip


def body_of(change):
    return {k: v for k, v in {**GOOD, **change}.items() if v is not None}


def require_error(response, status, param=None, code=None):
    assert response.status_code == status, response.text[:500]
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"] and error["type"]
    assert len(error["message"]) < 1000
    if param is not None:
        assert error["param"] == param
    if code is not None:
        assert error["code"] == code
    return error


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_not_served(server, tools, name):
    change, status, param, code = BODIES[name]
    response = tools.post(server, body_of(change))
    error = require_error(response, status, param, code)
    assert error["type"] == "invalid_request_error"
    require_alive(server, tools)


def require_alive(server, tools):
    response = tools.post(server, GOOD)
    assert response.status_code == 200, response.text
    assert server.worker.well


def with_user(value):
    """What is served, and a field that is ignored."""
    return json.dumps(GOOD).encode()[:-1] + b', "user": ' + value + b"}"


RAW = {
    "nothing": b"",
    "a space": b" ",
    "a text": b'"hello"',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "half an object": b'{"model": "mini", ',
    "single quotes": b"{'model': 'mini'}",
    "NaN": with_user(b"NaN"),
    "Infinity": with_user(b"[-Infinity]"),
    "no UTF-8": b'{"model": "\xff\xfe"}',
    "zeros": b"\0" * 1000,
    "a number of 5000 digits": with_user(b"9" * 5000),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep within": b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a million empty lists": with_user(b"[" + b"[]," * 1_500_000 + b"[]]"),
    "two objects": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_request(server, tools, name):
    require_error(tools.post(server, RAW[name]), 400, None, "invalid_json")
    require_alive(server, tools)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"],
)
def test_other_kinds_of_content(server, tools, kind):
    require_error(tools.post(server, GOOD, kind), 415, None, "invalid_content_type")
    assert tools.post(server, GOOD, "application/json; charset=utf-8").status_code == 200


def test_addresses_and_methods(server, tools):
    require_error(tools.send(server, "GET", "/v1/chat/completions"), 405)
    require_error(tools.send(server, "PUT", "/v1/models"), 405)
    require_error(tools.send(server, "GET", "/v1/nothing"), 404)
    require_error(tools.send(server, "POST", "/v1/completions"), 404)
    missing = tools.send(server, "GET", "/v1/models/gpt")
    require_error(missing, 404, "model", "model_not_found")
    for path in ("/docs", "/openapi.json", "/redoc", "/"):
        require_error(tools.send(server, "GET", path), 404)


def test_fields_nobody_knows_are_ignored_and_neutral_ones_taken(server, tools):
    extra = {
        "user": "me", "metadata": {"a": 1}, "store": False, "whatever": [1], "n": 1,
        "logprobs": False, "presence_penalty": 0.0, "tools": [], "tool_choice": "auto",
        "response_format": {"type": "text"}, "top_k": -1, "stop": None, "seed": None,
        "logit_bias": None, "stream": None, "calib": None, "temperature": None,
    }  # fmt: skip
    assert tools.post(server, {**GOOD, **extra}).status_code == 200


def test_the_client_sees_the_errors_it_knows(client, tools):
    ask = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="Did you mean 'mini'") as missing:
        ask(model="minni", messages=tools.said("Hello"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="Choose from 2, 3") as refused:
        ask(model="mini", messages=tools.said("Hi"), extra_body={"calib": {"layer": 5}})
    assert refused.value.param == "calib.layer"
    with pytest.raises(openai.BadRequestError, match="this server fetches nothing"):
        ask(model="mini", messages=shown("https://example.com/a.png")["messages"])


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["mini", "mini-uncalibrated"]
    assert client.models.retrieve("mini-uncalibrated").id == "mini-uncalibrated"


def test_pictures_of_other_formats_are_shown(server, tools):
    for kind in ("JPEG", "WEBP", "BMP", "GIF"):
        url = tools.png(Image.new("RGB", (40, 30), "green"), kind)
        assert tools.post(server, body_of(shown(url))).status_code == 200
    named = shown(ONE.replace("image/png", "image/png;charset=utf-8"))
    assert tools.post(server, body_of(named)).status_code == 200
    plain = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": ONE}]}]}
    assert tools.post(server, body_of(plain)).status_code == 200
