"""The routes: chat completions, the list of models, and whether the server is well."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from calib.config.sweep import GenerationConfig
from calib.engine.request import Decoding
from calib.serving.api_errors import APIError, failed
from calib.serving.calibrated import Calibrated
from calib.serving.job import Done, Event, Job
from calib.serving.limits import Admission, Slot, check_host, check_key
from calib.serving.request_schema import ChatRequest, parsed, wish_of
from calib.serving.responses import Completion
from calib.serving.streams import Stream, chunks_of, event_or_gone
from calib.serving.worker import Worker, log

PARSED_AT_ONCE = 4
"""Bodies read at once: a picture may take 200 MB while it is looked at."""


class Server:
    """What the routes share."""

    def __init__(
        self,
        served: Calibrated,
        generation: GenerationConfig,
        body_mb: int = 32,
        waiting: int = 256,
        key: str | None = None,
        local: bool = True,
    ) -> None:
        """``local`` says that requests come from this machine only."""
        self.served, self.generation = served, generation
        self.key, self.local = key, local
        self.worker = Worker(served)
        self.admission = Admission(waiting, body_mb << 20)
        self.reading = asyncio.Semaphore(PARSED_AT_ONCE)
        self.since = int(time.time())

    @property
    def default(self) -> Decoding:
        """How requests that do not say are answered."""
        how = self.generation
        return Decoding(
            max_new_tokens=how.max_new_tokens,
            batch_rows=how.batch_rows,
            memory=how.memory,
            temperature=how.temperature,
            top_p=how.top_p,
            kl=False,
            sharing=how.sharing,
        )

    def decoding(self, wish: ChatRequest) -> Decoding:
        """How a request is to be answered."""
        how = self.default
        temperature = how.temperature if wish.temperature is None else wish.temperature
        top_p = how.top_p if wish.top_p is None else wish.top_p
        return replace(
            how,
            max_new_tokens=wish.max_tokens or how.max_new_tokens,
            temperature=temperature,
            # Of no meaning for the likeliest token: requests that differ in it go together.
            top_p=top_p if temperature > 0 else 1.0,
        )

    def check(self, request: Request) -> None:
        """Raise Refused for a request that may not ask."""
        if self.local and self.key is None:
            check_host(request)
        check_key(request, self.key)

    async def complete(self, request: Request) -> Response:
        """Answer one request, in one piece or in a stream."""
        self.check(request)
        place = self.admission.enter()
        response: Response | None = None
        try:
            response = await self._answered(request, place)
            return response
        except APIError:
            raise
        except Exception as error:
            log.error("a request failed: %s", type(error).__name__)
            raise failed("the server failed.") from error
        finally:
            if not isinstance(response, Stream):
                place.leave()

    async def _wish(self, body: bytes) -> ChatRequest:
        async with self.reading:
            return await run_in_threadpool(lambda: wish_of(parsed(body)))

    async def _answered(self, request: Request, place: Slot) -> Response:
        wish = await self._wish(await place.body(request))
        layer, strength = self.served.point(wish.model, wish.strength, wish.layer)
        self.served.check_texts(wish.conversation.texts)
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:  # the loop is closed: nobody is there any more
                job.cancelled = True

        job = Job(
            wish.conversation,
            layer,
            strength,
            self.decoding(wish),
            tell,
            seed=wish.seed,
            stop=wish.stop,
            stream=wish.stream,
        )
        self.worker.submit(job)
        method = self.served.method.name if self.served.method and strength else "none"
        calib = {"method": method, "layer": layer if strength else None, "strength": strength}
        completion = Completion(wish.model, self.served.vlm.fingerprint, calib)
        try:
            first = await event_or_gone(events, request)
            if isinstance(first, APIError):
                raise first
            if isinstance(first, Done) and not wish.stream:
                return JSONResponse(completion.whole(first))
        except BaseException:
            self.worker.drop(job)
            raise
        chunks = chunks_of(job, completion, first, events, wish.include_usage)
        return Stream(chunks, job, place)


def app_of(server: Server) -> FastAPI:
    """The application; its worker runs as long as it does."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        server.worker.start()
        try:
            yield
        finally:
            await run_in_threadpool(server.worker.stop)

    # Without pages of its own: they would load scripts from elsewhere.
    app = FastAPI(lifespan=running, openapi_url=None, docs_url=None, redoc_url=None)

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        return await server.complete(request)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        server.check(request)
        listed = [_model(server, name) for name in server.served.names]
        return JSONResponse({"object": "list", "data": listed})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        server.check(request)
        server.served.point(name, None, None)
        return JSONResponse(_model(server, name))

    @app.get("/health")
    async def health() -> Response:
        well = server.worker.well
        said = {"status": "ok" if well else "failing", "waiting": server.worker.waiting}
        return JSONResponse(said, 200 if well else 503)

    @app.exception_handler(APIError)
    async def refused(request: Request, error: APIError) -> Response:
        headers = {"Retry-After": "1"} if error.status in (429, 503) else {}
        return JSONResponse(error.body, error.status, headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        said = {404: "there is nothing at this address", 405: "this address takes another method"}
        message = said.get(error.status_code, str(error.detail))
        body = APIError(f"{message}.", None, "unknown_url").body
        return JSONResponse(body, error.status_code, error.headers)

    return app


def _model(server: Server, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": server.since,
        "owned_by": "calib",
        "root": server.served.vlm.checkpoint,
        "max_model_len": server.served.context,
    }
