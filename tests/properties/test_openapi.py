"""Responses to requests that schemathesis makes up are those that /openapi.json promises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_profiles import share

pytest.importorskip("fastapi", reason="the serve extra brings fastapi")
pytest.importorskip("uvicorn", reason="the serve extra brings uvicorn")
schemathesis = pytest.importorskip("schemathesis", reason="the test extra brings schemathesis")

from asgi_client import asgi_client  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from calib.serving.http.access import Access  # noqa: E402
from calib.serving.http.openapi import openapi  # noqa: E402
from calib.serving.served_model import ServedModel  # noqa: E402

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    allow_header_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(openapi())
CHAT = SCHEMA["/v1/chat/completions"]["POST"]
OTHERS = [SCHEMA[path]["GET"] for path in ("/v1/models", "/v1/models/{name}", "/health")]
MODES = st.sampled_from(list(GenerationMode))
KEY = "secret"


@pytest.fixture(scope="module")
def clients(vlm):
    """A server without a key and one with a key."""
    served = ServedModel(vlm, "mini")
    with (
        asgi_client(served) as (free, _),
        asgi_client(served, access=Access(KEY)) as (protected, _),
    ):
        yield free, protected


def check(client, case, **headers):
    arguments = case.as_transport_kwargs(base_url="http://localhost")
    arguments.pop("cookies", None)
    arguments["headers"] = {**dict(arguments["headers"]), **headers}
    if "data" in arguments:
        arguments["content"] = arguments.pop("data")
    response = client.request(**arguments)
    case.validate_response(response, checks=CHECKS)
    return response


def test_the_document_is_served_and_names_every_url(clients):
    document = clients[0].get("/openapi.json").json()
    assert document == openapi()
    served = {route.path.removesuffix(":path}") for route in clients[0].app.routes}
    assert {path.removesuffix("}") for path in document["paths"]} <= {p.rstrip("}") for p in served}
    assert clients[1].get("/openapi.json").status_code == 401


@given(st.data(), MODES)
@share(2)
def test_chat_completions_respond_as_documented(clients, data, mode):
    case = data.draw(CHAT.as_strategy(generation_mode=mode))
    if isinstance(case.body, dict):
        limits = {"max_tokens", "max_completion_tokens"} & case.body.keys()
        # Most made-up names are not served; lengths are bounded for speed alone.
        case.body |= {"model": data.draw(st.sampled_from(["mini", "other"]))}
        case.body |= {name: 2 for name in limits if type(case.body[name]) is int}
    check(clients[0], case)


@given(st.data(), MODES, st.sampled_from(OTHERS), st.sampled_from([None, KEY, "wrong"]))
def test_other_urls_respond_as_documented(clients, data, mode, operation, key):
    case = data.draw(operation.as_strategy(generation_mode=mode))
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    response = check(clients[1], case, **headers)
    # A made-up name of a model may lead to another URL.
    if operation.path == "/v1/models" and key != KEY:
        assert response.status_code == 401


@pytest.mark.parametrize("operation", [CHAT, *OTHERS], ids=lambda operation: operation.path)
def test_other_methods_are_refused_as_documented(clients, operation):
    path = operation.path.replace("{name}", "mini")
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {operation.method.upper()}:
        response = clients[0].request(method, path)
        assert response.status_code == 405 and response.json()["error"]["code"] == "unknown_url"
        assert operation.method.upper() in response.headers["allow"]
