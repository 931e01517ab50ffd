"""The URLs of the playground: its files, and what its page asks for."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from calib.serving.api_errors import APIError
from calib.serving.http.access import Access
from calib.serving.http.limits import Limits, Slot
from calib.serving.playground.playground import Playground
from calib.serving.request_schema import MAX_STRENGTHS
from calib.serving.schema import ClosedSchema, Index, load_json

PAGE = "page.html"
MAX_RESPONSE = 50_000
"""Maximum number of characters of a response to label: judges search it with many expressions."""
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
HEADERS = {
    # Everything that the page loads is a file of this server: no inline script or style, nothing
    # from another host, and no other page may show this one in a frame.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class LabelRequest(ClosedSchema):
    """Responses to label."""

    model: str
    """Name of the model that gave them."""
    example: Index | None = None
    """Number of the example that they answer; None for a query of the person's own."""
    responses: Annotated[
        list[Annotated[str, Field(max_length=MAX_RESPONSE)]],
        Field(min_length=1, max_length=MAX_STRENGTHS),
    ]


def add_playground(app: FastAPI, playground: Playground, access: Access, limits: Limits) -> None:
    """Serve the page and its files to everyone who reaches the server, since they hold nothing of
    it, and the rest to clients with the key."""
    folder = resources.files("calib.serving.playground") / "files"
    files = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    def file(name: str) -> Response:
        if name not in files:
            raise APIError("This URL does not exist.", None, "unknown_url", 404)
        kind = MEDIA_TYPES[name.rpartition(".")[2]]
        return Response(files[name], headers=HEADERS, media_type=f"{kind}; charset=utf-8")

    @app.get("/")
    async def page() -> Response:
        return file(PAGE)

    @app.get("/playground/files/{name}")
    async def page_file(name: str) -> Response:
        return file(name)

    @asynccontextmanager
    async def admitted(request: Request) -> AsyncIterator[Slot]:
        access.check_key(request)
        slot = limits.acquire()
        try:
            yield slot
        finally:
            slot.release()

    @app.get("/playground/settings")
    async def settings(request: Request) -> Response:
        async with admitted(request):
            return _json(playground.settings())

    @app.get("/playground/examples/{model:path}")
    async def examples(request: Request, model: str) -> Response:
        async with admitted(request):
            return _json(await run_in_threadpool(playground.list, model))

    @app.get("/playground/example/{number}/{model:path}")
    async def example(request: Request, number: str, model: str) -> Response:
        async with admitted(request):
            return _json(await run_in_threadpool(playground.example, model, number))

    @app.post("/playground/labels")
    async def labels(request: Request) -> Response:
        async with admitted(request) as slot:
            asked = _label_request(await slot.read_body(request))
            given = asked.model, asked.example, asked.responses
            return _json(await run_in_threadpool(playground.labels, *given))


def _label_request(body: bytes) -> LabelRequest:
    try:
        return LabelRequest.model_validate(load_json(body, "The body", None))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        raise APIError(f"{param or 'The body'}: {first['msg']}.", param, "invalid_value") from error


def _json(body: dict[str, Any]) -> Response:
    # Escaped, because texts of a benchmark may have half of a surrogate pair.
    text = json.dumps(body)
    headers = HEADERS | {"Cache-Control": "no-store"}
    return Response(text, headers=headers, media_type="application/json")
