"""Invalid requests get an error in OpenAI's format, and the server keeps working."""

import base64
import io
import json
import struct
import zlib
from dataclasses import replace

import openai
import pytest
from PIL import Image
from server_thread import data_url, post, user_message

from calib.serving.api_errors import APIError
from calib.serving.request_schema import NEUTRAL, parse_request

VALID = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}


def with_image(url, role="user", **more):
    image = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": role, "content": [image, {"type": "text", "text": "?"}]}], **more}


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A data URL of a tiny PNG file that claims this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1_000_000)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(data).decode()


def b64(data, kind="image/png"):
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def blue_png():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(file, "PNG")
    return file.getvalue()


IMAGE = b64(blue_png())
TWO_IMAGES = [
    {"type": "image_url", "image_url": {"url": IMAGE}},
    {"type": "image_url", "image_url": {"url": IMAGE}},
    {"type": "text", "text": "?"},
]

BODIES = {
    # name: (changes to VALID, status, param, code); None removes a field
    "model missing": ({"model": None}, 400, "model", None),
    "model a number": ({"model": 3}, 400, "model", None),
    "unknown model": ({"model": "gpt"}, 404, "model", "model_not_found"),
    "misspelt model": ({"model": "mini-uncalibrate"}, 404, "model", "model_not_found"),
    "very long model name": ({"model": "m" * 100_000}, 404, "model", "model_not_found"),
    "messages missing": ({"messages": None}, 400, "messages", None),
    "empty messages": ({"messages": []}, 400, "messages", None),
    "messages a string": ({"messages": "Hello"}, 400, "messages", None),
    "messages of strings": ({"messages": ["Hello"]}, 400, "messages[0]", None),
    "messages of null": ({"messages": [None]}, 400, "messages[0]", None),
    "messages as an object": ({"messages": {"role": "user"}}, 400, "messages", None),
    "too many messages": (chat(*[("user", "a")] * 2000), 400, "messages", "too_many_messages"),
    "role missing": ({"messages": [{"content": "a"}]}, 400, "messages[0].role", None),
    "role a list": ({"messages": [{"role": [], "content": "a"}]}, 400, None, None),
    "unknown role": (chat(("tool", "a")), 400, "messages[0].role", None),
    "content missing": ({"messages": [{"role": "user"}]}, 400, "messages[0].content", None),
    "content null": (chat(("user", None)), 400, "messages[0].content", None),
    "content a number": (chat(("user", 3)), 400, "messages[0].content", None),
    "content an object": (chat(("user", {"type": "text"})), 400, "messages[0].content", None),
    "empty content": (chat(("user", [])), 400, "messages[0].content", None),
    "a part that is a string": (chat(("user", ["a"])), 400, "messages[0].content[0].type", None),
    "a part of another type": (
        chat(("user", [{"type": "input_audio"}])), 400, None, "unsupported_value",
    ),
    "a text part without text": (chat(("user", [{"type": "text"}])), 400, None, "invalid_type"),
    "too many parts": (chat(("user", [{"type": "text", "text": "a"}] * 999)), 400, None, None),
    "half a surrogate": (chat(("user", "\ud800")), 400, "messages[0].content", None),
    "assistant last": (chat(("user", "a"), ("assistant", "b")), 400, None, "invalid_messages"),
    "two user messages": (chat(("user", "a"), ("user", "b")), 400, None, "invalid_messages"),
    "assistant first": (chat(("assistant", "a"), ("user", "b")), 400, None, "invalid_messages"),
    "only a system message": (chat(("system", "a")), 400, None, "invalid_messages"),
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
    "an image from the assistant": (
        {"messages": [VALID["messages"][0], *with_image(IMAGE, "assistant")["messages"],
                      VALID["messages"][0]]}, 400, None, "invalid_messages",
    ),
    "an image from the system": (
        {"messages": [*with_image(IMAGE, "system")["messages"], VALID["messages"][0]]}, 400, None,
        "invalid_messages",
    ),
    "a web URL": (with_image("http://127.0.0.1:1/a.png"), 400, None, "invalid_image_url"),
    "a file URL": (with_image("file:///etc/passwd"), 400, None, "invalid_image_url"),
    "a path": (with_image("/etc/passwd"), 400, None, "invalid_image_url"),
    "a data URL without base64": (with_image("data:image/png,abc"), 400, None, "invalid_image_url"),
    "URL missing": (with_image(None), 400, None, "invalid_type"),
    "a URL that is a number": (with_image(7), 400, None, "invalid_type"),
    "an empty URL": (with_image(""), 400, None, "invalid_image_url"),
    "bad base64": (with_image("data:image/png;base64,@@@@"), 400, None, "invalid_base64"),
    "truncated base64": (with_image("data:image/png;base64,abc"), 400, None, "invalid_base64"),
    "an empty image": (with_image("data:image/png;base64,"), 400, None, "invalid_image"),
    "not an image": (with_image(b64(b"hello there")), 400, None, "invalid_image"),
    "half an image": (with_image(b64(blue_png()[:40])), 400, None, "invalid_image"),
    "an unsupported format": (
        with_image(b64(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")), 400, None,
        "invalid_image",
    ),
    "an image of 10^10 pixels": (with_image(bomb(100_000, 100_000)), 400, None, "image_too_large"),
    "an image of 65 million pixels": (with_image(bomb(8100, 8100)), 400, None, "image_too_large"),
    "an image without pixels": (with_image(bomb(0, 0)), 400, None, "invalid_image"),
    "max_tokens 0": ({"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
    "max_tokens below 0": ({"max_tokens": -1}, 400, "max_tokens", "invalid_value"),
    "max_tokens huge": ({"max_tokens": 10**30}, 400, "max_tokens", "invalid_value"),
    "max_tokens a string": ({"max_tokens": "5"}, 400, "max_tokens", "invalid_type"),
    "max_tokens true": ({"max_tokens": True}, 400, "max_tokens", "invalid_type"),
    "max_tokens 1.5": ({"max_tokens": 1.5}, 400, "max_tokens", "invalid_type"),
    "two different limits": ({"max_completion_tokens": 3}, 400, "max_tokens", None),
    "more than the context": ({"max_tokens": 5000}, 400, "messages", "context_length_exceeded"),
    "a long prompt": (
        chat(("user", "knife " * 3000)), 400, "messages", "context_length_exceeded",
    ),
    "a very long prompt": (
        chat(("user", "knife " * 30_000)), 400, "messages", "context_length_exceeded",
    ),
    "image placeholder": (
        chat(("user", "What is <IMG_CONTEXT>?")), 400, "messages", "invalid_messages",
    ),
    "video placeholder": (chat(("user", "<video>")), 400, "messages", "invalid_messages"),
    "placeholder in an earlier turn": (
        chat(("user", "a"), ("assistant", "<IMG_CONTEXT>"), ("user", "b")), 400, "messages",
        "invalid_messages",
    ),
    "placeholder next to an image": (
        chat(("user", [*TWO_IMAGES[1:2], {"type": "text", "text": "<IMG_CONTEXT>"}])),
        400, "messages", "invalid_messages",
    ),
    "temperature below 0": ({"temperature": -1}, 400, "temperature", "invalid_value"),
    "temperature 3": ({"temperature": 3}, 400, "temperature", "invalid_value"),
    "temperature huge": ({"temperature": 10**400}, 400, "temperature", "invalid_value"),
    "temperature a list": ({"temperature": [1]}, 400, "temperature", "invalid_type"),
    "top_p 0": ({"top_p": 0}, 400, "top_p", "invalid_value"),
    "top_p 2": ({"top_p": 2}, 400, "top_p", "invalid_value"),
    "seed 2^63": ({"seed": 2**63}, 400, "seed", "invalid_value"),
    "seed 0.5": ({"seed": 0.5}, 400, "seed", "invalid_type"),
    "n 2": ({"n": 2}, 400, "n", "unsupported_value"),
    "n true": ({"n": True}, 400, "n", "unsupported_value"),
    "logprobs": ({"logprobs": True}, 400, "logprobs", "unsupported_value"),
    "tools": ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_value"),
    "JSON mode": (
        {"response_format": {"type": "json_object"}}, 400, "response_format", "unsupported_value",
    ),
    "presence_penalty": ({"presence_penalty": 0.5}, 400, "presence_penalty", "unsupported_value"),
    "logit_bias": ({"logit_bias": {"5": 100}}, 400, "logit_bias", "unsupported_value"),
    "top_k": ({"top_k": 5}, 400, "top_k", "unsupported_value"),
    "stream a string": ({"stream": "yes"}, 400, "stream", None),
    "stream_options a list": ({"stream_options": []}, 400, "stream_options", "invalid_type"),
    "include_usage": ({"stream_options": {"include_usage": 1}}, 400, None, None),
    "stop a number": ({"stop": 3}, 400, "stop", "invalid_type"),
    "stop empty": ({"stop": [""]}, 400, "stop", "invalid_type"),
    "stop of null": ({"stop": [None]}, 400, "stop", "invalid_type"),
    "17 stop sequences": ({"stop": ["a"] * 17}, 400, "stop", None),
    "a stop sequence of 2000 characters": ({"stop": "a" * 2000}, 400, "stop", None),
    "calib a number": ({"calib": 3}, 400, "calib", "invalid_type"),
    "unknown field of calib": ({"calib": {"strengh": 1}}, 400, "calib", None),
    "strength a string": ({"calib": {"strength": "1"}}, 400, "calib.strength", "invalid_type"),
    "strength huge": ({"calib": {"strength": 10**400}}, 400, "calib.strength", "invalid_value"),
    "strength that overflows": ({"calib": {"strength": 1e39}}, 400, "calib.strength", "not_finite"),
    "layer without a setting": ({"calib": {"layer": 5}}, 400, "calib.layer", None),
    "layer below 0": ({"calib": {"layer": -1}}, 400, "calib.layer", "invalid_value"),
    "layer a list": ({"calib": {"layer": [3]}}, 400, "calib.layer", "invalid_type"),
    "a variable of the chat template": (
        {"chat_template_kwargs": {"enable_thinking": False}}, 400, "chat_template_kwargs",
        "unsupported_value",
    ),
    "chat_template_kwargs a list": (
        {"chat_template_kwargs": ["a"]}, 400, "chat_template_kwargs", "invalid_type",
    ),
    "reasoning effort": (
        {"reasoning_effort": "low"}, 400, "reasoning_effort", "unsupported_value",
    ),
    "strength of the uncalibrated model": (
        {"model": "mini-uncalibrated", "calib": {"strength": 2}}, 400, "calib", None,
    ),
}  # fmt: skip


def body_of(changes):
    return {k: v for k, v in {**VALID, **changes}.items() if v is not None}


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
def test_invalid_bodies_are_refused(server, name):
    changes, status, param, code = BODIES[name]
    response = post(server, body_of(changes))
    error = require_error(response, status, param, code)
    assert error["type"] == "invalid_request_error"
    require_working(server)


def require_working(server):
    response = post(server, VALID)
    assert response.status_code == 200, response.text
    assert server.worker.problem is None


def with_user(value):
    """A valid body with the JSON text ``value`` in a field that is ignored."""
    return json.dumps(VALID).encode()[:-1] + b', "user": ' + value + b"}"


RAW = {
    "empty": b"",
    "a space": b" ",
    "a string": b'"hello"',
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "half an object": b'{"model": "mini", ',
    "single quotes": b"{'model': 'mini'}",
    "NaN": with_user(b"NaN"),
    "Infinity": with_user(b"[-Infinity]"),
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "zeros": b"\0" * 1000,
    "a number of 5000 digits": with_user(b"9" * 5000),
    "deeply nested lists": b"[" * 100_000,
    "deeply nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep nesting in a field": b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a million empty lists": with_user(b"[" + b"[]," * 1_500_000 + b"[]]"),
    "two objects": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf",
}


@pytest.mark.parametrize("name", RAW)
def test_bodies_that_are_not_a_json_object_are_refused(server, name):
    require_error(post(server, RAW[name]), 400, None, "invalid_json")
    require_working(server)


def test_unknown_fields_and_neutral_values_are_accepted(server):
    extra = {
        "user": "me", "metadata": {"a": 1}, "store": False, "whatever": [1], "n": 1,
        "logprobs": False, "presence_penalty": 0.0, "tools": [], "tool_choice": "auto",
        "response_format": {"type": "text"}, "top_k": -1, "stop": None, "seed": None,
        "logit_bias": None, "stream": None, "calib": None, "temperature": None,
        "chat_template_kwargs": {}, "reasoning_effort": None, "include_reasoning": True,
    }  # fmt: skip
    assert post(server, {**VALID, **extra}).status_code == 200


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_an_unsupported_field_accepts_only_its_neutral_values(name):
    for value in (*NEUTRAL[name], None):
        parse_request(json.dumps({**VALID, name: value}).encode())
    with pytest.raises(APIError) as caught:
        parse_request(json.dumps({**VALID, name: 7}).encode())
    error = caught.value
    assert (error.status, error.param, error.code) == (400, name, "unsupported_value")
    assert all(json.dumps(value) in error.message for value in NEUTRAL[name])


@pytest.mark.parametrize(
    ("assistant", "text"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": None, "tool_calls": []}, ""),
        ({"content": ""}, ""),
        ({"content": None, "refusal": "I can't help."}, "I can't help."),
        ({"content": [{"type": "refusal", "refusal": "I can't help."}]}, "I can't help."),
    ],
)
def test_an_assistant_turn_without_content_is_an_empty_text(assistant, text):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", **assistant}]
    body = {**VALID, "messages": [*turns, {"role": "user", "content": "b"}]}
    _, conversation = parse_request(json.dumps(body).encode())
    assert [turn.response for turn in conversation.example.demonstrations] == [text]
    if assistant.get("content") != "":
        with pytest.raises(APIError):
            user = {"role": "user", **assistant}
            parse_request(json.dumps({**VALID, "messages": [user]}).encode())


def test_variables_of_the_chat_template_are_those_of_the_server(steered):
    own = {"enable_thinking": False, "style": "short"}
    served = replace(steered, vlm=replace(steered.vlm, template_kwargs=own))
    for accepted in ({}, own, {"enable_thinking": False}):
        served.check_template_kwargs(accepted)
    for refused in ({"enable_thinking": True}, {"enable_thinking": 0}, {"thinking": False}):
        with pytest.raises(APIError) as caught:
            served.check_template_kwargs({**own, **refused})
        (name,) = refused
        assert caught.value.code == "unsupported_value" and name in caught.value.message


def test_parameters_are_read():
    fields = {
        "seed": -5, "calib": {"strength": 2, "layer": 3}, "max_completion_tokens": 7, "top_p": 1,
        "temperature": 0, "stop": "END", "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    request, conversation = parse_request(json.dumps({**VALID, "max_tokens": 7, **fields}).encode())
    assert (request.model, request.seed, request.token_limit) == ("mini", -5, 7)
    assert (request.calib.strength, request.calib.layer) == (2.0, 3)
    assert (request.temperature, request.top_p, request.stop) == (0.0, 1.0, ("END",))
    assert request.stream and request.stream_options.include_usage
    assert conversation.example.query == "Hello"
    default, _ = parse_request(json.dumps(VALID).encode())
    assert (default.temperature, default.top_p, default.stop) == (None, None, ())
    assert not default.stream and not default.stream_options.include_usage
    assert (default.calib.strength, default.calib.layer) == (None, None)
    assert default.seed != parse_request(json.dumps(VALID).encode())[0].seed


def test_the_official_client_raises_its_own_errors(client):
    complete = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as caught:
        complete(model="minni", messages=user_message("Hello"))
    assert caught.value.code == "model_not_found"
    assert "Did you mean 'mini'" in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        complete(model="mini", messages=user_message("Hi"), extra_body={"calib": {"layer": 5}})
    assert caught.value.param == "calib.layer"
    assert "2, 3" in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        complete(model="mini", messages=with_image("https://example.com/a.png")["messages"])
    assert caught.value.code == "invalid_image_url"


def test_error_messages_may_quote_half_of_a_surrogate_pair(server):
    reply = post(server, {**VALID, "model": "\ud800"})
    require_error(reply, 404, "model", "model_not_found")
    require_error(post(server, {**VALID, "messages": [{"role": "\ud800"}]}), 400)


def test_images_in_all_formats_are_accepted(server):
    for kind in ("JPEG", "WEBP", "BMP", "GIF"):
        url = data_url(Image.new("RGB", (40, 30), "green"), kind)
        assert post(server, body_of(with_image(url))).status_code == 200
    with_parameter = with_image(IMAGE.replace("image/png", "image/png;charset=utf-8"))
    assert post(server, body_of(with_parameter)).status_code == 200
    bare_url = [{"role": "user", "content": [{"type": "image_url", "image_url": IMAGE}]}]
    assert post(server, body_of({"messages": bare_url})).status_code == 200
