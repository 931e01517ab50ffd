"""Any body of a chat-completions request gets a completion, or an error as JSON below 500."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share
from property_strategies import broken_texts, deep, json_values

pytest.importorskip("fastapi", reason="the serve extra brings fastapi")
pytest.importorskip("uvicorn", reason="the serve extra brings uvicorn")

from asgi_client import asgi_client  # noqa: E402
from PIL import Image  # noqa: E402
from server_thread import data_url  # noqa: E402

from calib.serving.request_schema import NEUTRAL, ChatRequest  # noqa: E402
from calib.serving.served_model import ServedModel  # noqa: E402

ERRORS = (400, 404, 413, 415, 429)
NAMES = ["mini", "other"]
PICTURES = [data_url(Image.new("RGB", size, "red")) for size in ((8, 8), (1, 60), (3, 1))]


@pytest.fixture(scope="module")
def client(vlm):
    with asgi_client(ServedModel(vlm, "mini")) as (client, _):
        yield client


def check(response):
    if response.status_code == 200:
        if response.headers["content-type"].startswith("text/event-stream"):
            assert response.text.endswith("data: [DONE]\n\n")
        else:
            (choice,) = response.json()["choices"]
            assert isinstance(choice["message"]["content"], str)
    else:
        assert response.status_code in ERRORS, response.text
        error = response.json()["error"]
        assert error["message"] and error["type"]
        assert error.keys() == {"message", "type", "param", "code"}


def post(client, body, kind="application/json"):
    return client.post("/v1/chat/completions", content=body, headers={"Content-Type": kind})


@given(
    st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["application/json", "text/plain", "APPLICATION/JSON; charset=x"]),
)
def test_any_body_gets_an_error_as_json(client, body, kind):
    response = post(client, body, kind)
    check(response)
    assert response.status_code in (400, 415)


PARTS = st.one_of(
    broken_texts.map(lambda text: {"type": "text", "text": text}),
    st.sampled_from(PICTURES).map(lambda url: {"type": "image_url", "image_url": {"url": url}}),
    st.builds(lambda url: {"type": "image_url", "image_url": url}, json_values),
    json_values,
)
CONTENT = broken_texts | st.lists(PARTS, max_size=3) | json_values
ROLES = st.sampled_from(["user", "assistant", "system", "developer", "tool"]) | json_values
MESSAGES = st.one_of(
    st.just([{"role": "user", "content": "Hello"}]),
    broken_texts.map(lambda text: [{"role": "user", "content": text}]),
    st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENT}), max_size=4),
    json_values,
)
LIMITS = st.integers(-1, 3) | json_values
VALUES = st.one_of(
    json_values,
    st.sampled_from(
        [0, 1, 2, 1e-300, 5e-324, 0.5, True, [], {}, deep(99), deep(600, "a"), deep(900), "a" * 99]
    ),
)
VECTOR = {
    "activations": {"data": "AAAA", "shape": [1, 1], "dtype": "float32"}, "layer_indices": [0],
}  # fmt: skip
VECTORS = st.one_of(
    json_values,
    st.lists(st.dictionaries(st.sampled_from([*VECTOR, "scale", "x"]), json_values).map(
        lambda changes: {**VECTOR, **changes}), max_size=2).flatmap(
            lambda vectors: st.sampled_from([vectors, json.dumps(vectors)])),
)  # fmt: skip
FIELDS = {
    "temperature": VALUES | st.floats(0, 2),
    "top_p": VALUES | st.floats(0, 1),
    "seed": VALUES | st.integers(-(2**63), 2**63 - 1),
    "stop": VALUES | st.lists(broken_texts, max_size=3),
    "stream": VALUES,
    "stream_options": VALUES | st.fixed_dictionaries({"include_usage": st.booleans()}),
    "calib": VALUES | st.dictionaries(st.sampled_from(["strength", "layer", "x"]), VALUES),
    "chat_template_kwargs": VALUES | st.dictionaries(broken_texts, VALUES, max_size=2),
    "return_token_ids": VALUES,
    "vllm_xargs": VALUES | st.dictionaries(
        st.sampled_from(["apply_steering_vectors", "output_residual_stream", "apply_hooks", "x"]),
        VECTORS, max_size=2,
    ),
    "max_completion_tokens": LIMITS,
    **{name: VALUES for name in ("n", "tools", "logit_bias", "response_format", "user", "x")},
}  # fmt: skip
BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(NAMES) | VALUES, "messages": MESSAGES, "max_tokens": LIMITS},
    optional=FIELDS,
)


@given(BODIES)
@share(2)
def test_any_fields_get_a_completion_or_an_error_as_json(client, body):
    # Lengths are bounded for speed alone.
    if isinstance(body["max_tokens"], int | float) and body["max_tokens"] > 3:
        body["max_tokens"] = 3
    check(post(client, json.dumps(body).encode()))


@given(st.sampled_from([*FIELDS, *NEUTRAL, *ChatRequest.model_fields, "messages"]), VALUES)
@share(2)
def test_any_value_of_one_field_gets_a_completion_or_an_error_that_names_it(client, field, value):
    if field in ("max_tokens", "max_completion_tokens") and isinstance(value, int | float):
        value = min(value, 3)
    valid = {"model": "mini", "messages": [{"role": "user", "content": "Hello"}]}
    response = post(client, json.dumps({**valid, field: value}).encode())
    check(response)
    if response.status_code != 200 and response.json()["error"]["code"] != "invalid_json":
        assert field in response.json()["error"]["message"]


@pytest.mark.parametrize("depth", [90, 120, 970, 5000])
@pytest.mark.parametrize("field", ["chat_template_kwargs", "messages", "stop"])
def test_a_body_of_any_depth_gets_an_error_of_its_own(client, field, depth):
    value = '{"a":' * depth + "1" + "}" * depth
    response = post(client, f'{{"model": "mini", "{field}": {value}}}'.encode())
    check(response)
    assert response.status_code == 400
