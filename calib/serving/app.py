"""The HTTP routes: chat completions, the list of models, and the server's health."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from calib.config.sweep import GenerationConfig
from calib.engine.request import Decoding
from calib.models.layers import site_width
from calib.serving.api_errors import APIError
from calib.serving.http.access import Access
from calib.serving.http.gate import Gate, error_response, failed
from calib.serving.http.limits import Limits, Slot
from calib.serving.http.openapi import openapi
from calib.serving.http.responses import (
    CompleteResponse,
    Completion,
    EventStream,
    IndexedEvent,
    collected,
    next_event,
    stream_chunks,
)
from calib.serving.job import Event, Job
from calib.serving.pictures import BYTES_PER_PIXEL, DEFAULT_LIMITS, PictureLimits
from calib.serving.playground.playground import Playground
from calib.serving.playground.routes import add_playground
from calib.serving.request_schema import ChatRequest, parse_request
from calib.serving.served_model import ServedModel
from calib.serving.steering_vectors import (
    HOOKS_REFUSED,
    MAX_ACTIVATION_BYTES,
    Steering,
    decode_vectors,
    decoded_size,
)
from calib.serving.watch import CHECK_SECONDS, STALLED_AFTER, Watch
from calib.serving.worker import Worker

PARSED_AT_ONCE = 4
"""Number of bodies parsed in parallel."""
DECODED_AT_ONCE = 2
"""Number of requests whose images are decoded in parallel: converting an image takes up to 20 bytes
per pixel."""


class Server:
    """The state shared by all routes."""

    def __init__(
        self,
        served: ServedModel,
        generation: GenerationConfig,
        body_mb: int = 32,
        waiting: int = 256,
        access: Access | None = None,
        pictures: PictureLimits = DEFAULT_LIMITS,
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        """``body_mb`` limits each body (MiB), ``waiting`` the number of open requests, ``pictures``
        those of each request, ``stalled_after`` the time without progress of the model (seconds).
        Without ``access``, requests need no key and go to localhost."""
        self.served, self.generation = served, generation
        self.access, self.pictures = access or Access(), pictures
        self.worker = Worker(served, Watch(stalled_after))
        self.limits = Limits(waiting, body_mb << 20)
        self.parsing = asyncio.Semaphore(PARSED_AT_ONCE)
        self.decoding_images = asyncio.Semaphore(DECODED_AT_ONCE)
        self.started = int(time.time())

    @property
    def default_decoding(self) -> Decoding:
        """Decoding settings of requests that set none."""
        return Decoding.of(self.generation, kl=False)

    def decoding(self, chat: ChatRequest) -> Decoding:
        """Decoding settings of a request."""
        default = self.default_decoding
        temperature = default.temperature if chat.temperature is None else chat.temperature
        top_p = default.top_p if chat.top_p is None else chat.top_p
        return replace(
            default,
            max_new_tokens=chat.token_limit or default.max_new_tokens,
            temperature=temperature,
            # Greedy decoding ignores top_p; equal values let requests share a batch.
            top_p=top_p if temperature > 0 else 1.0,
        )

    async def complete(self, request: Request) -> Response:
        """Answer a request, in one piece or as a stream."""
        self.access.check_key(request)
        slot = self.limits.acquire()
        response: Response | None = None
        try:
            response = await self._complete(request, slot)
            return response
        except APIError:
            raise
        except Exception as error:
            raise failed(error) from error
        finally:
            if response is None:  # otherwise it keeps the slot until it has been sent
                slot.release()

    async def _complete(self, request: Request, slot: Slot) -> CompleteResponse | EventStream:
        body = await slot.read_body(request)
        async with self.parsing:
            chat, conversation = await run_in_threadpool(parse_request, body, self.pictures)
        served = self.served.named(chat.model)
        points = []
        for index, strength in enumerate(chat.calib.strengths or (chat.calib.strength,)):
            try:
                points.append(served.resolve(chat.model, strength, chat.calib.layer))
            except APIError as error:
                raise _of_strength(error, index, chat) from None
        layer, strengths = points[0][0], [strength for _, strength in points]
        projected = chat.calib.projections
        projected_layer = served.check_projections(chat.model, layer) if projected else None
        self.served.check_texts(conversation.texts)
        self.served.check_template_kwargs(chat.chat_template_kwargs)
        if conversation.images:
            slot.reserve(conversation.pixels * BYTES_PER_PIXEL)
            async with self.decoding_images:
                most = self.served.vlm.max_pixels
                await run_in_threadpool(conversation.decode_images, most)
        steering = await self._steering(chat, slot)
        layers = chat.vllm_xargs.residual_layers(self.served.vlm.num_layers)
        activations = len(layers) * self.served.context_length * self.served.bytes_per_activation
        slot.reserve(min(activations, MAX_ACTIVATION_BYTES))
        events: asyncio.Queue[IndexedEvent] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def notify(index: int, event: Event) -> None:
            # A RuntimeError means that the event loop is closed, so the client is gone: the job,
            # whose event cannot be delivered, is cancelled.
            if isinstance(event, APIError):
                event = _of_strength(event, index, chat)
            loop.call_soon_threadsafe(events.put_nowait, (index, event))

        jobs = [
            Job(
                conversation,
                layer,
                strength,
                self.decoding(chat),
                partial(notify, index),
                steering,
                layers,
                projected_layer,
                served,
                seed=chat.seed,
                stop=chat.stop,
                stream=chat.stream,
            )
            for index, strength in enumerate(strengths)
        ]
        completion = Completion(
            chat.model,
            self.served.vlm.fingerprint,
            _calib(served, chat, layer, strengths, steering),
            chat.return_token_ids,
        )
        try:
            self.worker.submit(*jobs)
            if not chat.stream:
                finished = await collected(events, len(jobs), request)
                return CompleteResponse(completion.body(finished), slot)
            first = await next_event(events, request)
        except BaseException:
            for job in jobs:
                self.worker.cancel(job)
            raise
        include_usage = chat.stream_options.include_usage
        chunks = stream_chunks(completion, first, events, len(jobs), include_usage)
        return EventStream(chunks, jobs, slot)

    async def _steering(self, chat: ChatRequest, slot: Slot) -> Steering:
        """The steering vectors of a request; their memory is reserved before they are decoded."""
        vectors, vlm = chat.vllm_xargs.apply_steering_vectors, self.served.vlm
        slot.reserve(decoded_size(vectors, vlm.num_layers, site_width(vlm.model, "residual")))
        if not vectors:
            return Steering()
        async with self.parsing:
            return await run_in_threadpool(decode_vectors, vectors)


def create_app(server: Server, playground: Playground | None = None) -> FastAPI:
    """The application, which starts and stops the server's worker; with a page for people if there
    is a ``playground``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.worker.start()
        watching = asyncio.create_task(_watch(server.worker))
        try:
            yield
        finally:
            watching.cancel()
            await run_in_threadpool(server.worker.stop)

    # FastAPI's documentation pages would load scripts from other hosts.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, access=server.access)

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        return await server.complete(request)

    @app.post("/v1/completions")
    async def complete_text(request: Request) -> Response:
        server.access.check_key(request)
        raise APIError(
            "This server answers messages at /v1/chat/completions; it has no completions of a "
            "text. With the client of vllm-lens, use chat in place of generate.",
            None,
            "unknown_url",
            404,
        )

    @app.api_route("/v1/hooks/{action:path}", methods=["GET", "POST"])
    async def hooks(request: Request, action: str) -> Response:
        server.access.check_key(request)
        raise APIError(f"/v1/hooks is not supported: {HOOKS_REFUSED}", None, "unsupported_value")

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        server.access.check_key(request)
        names = [name for each in server.served.methods for name in each.names]
        models = [_model_info(server, name) for name in names]
        return JSONResponse({"object": "list", "data": models})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        server.access.check_key(request)
        return JSONResponse(_model_info(server, name))

    if playground is not None:
        add_playground(app, playground, server.access, server.limits)

    document = openapi()

    @app.get("/openapi.json")
    async def describe(request: Request) -> Response:
        server.access.check_key(request)
        return JSONResponse(document)

    @app.get("/health")
    async def health() -> Response:
        problem = server.worker.problem
        status: dict[str, Any] = {
            "status": "failing" if problem else "ok",
            "waiting": server.worker.open_jobs,
            "restarts": server.worker.restarts,
        }
        if problem:
            status["reason"] = problem
        return JSONResponse(status, 503 if problem else 200)

    @app.exception_handler(APIError)
    async def api_error(request: Request, error: APIError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        messages = {404: "This URL does not exist", 405: "This URL does not accept this method"}
        message = messages.get(error.status_code, str(error.detail))
        body = APIError(f"{message}.", None, "unknown_url").body
        return JSONResponse(body, error.status_code, error.headers)

    return app


def _calib(
    served: ServedModel,
    chat: ChatRequest,
    layer: int | None,
    strengths: list[float],
    steering: Steering,
) -> dict[str, Any]:
    """The field ``calib`` of a response: what was done to the model."""
    edited = served.method if any(strengths) else None
    calib: dict[str, Any] = {
        "method": edited.name if edited else "none",
        "layer": layer if edited else None,
    }
    if chat.calib.strengths:
        calib["strengths"] = strengths
    else:
        calib["strength"] = strengths[0]
    if steering.vectors:
        calib["steering_vectors"] = len(steering.vectors)
    return calib


def _of_strength(error: APIError, index: int, chat: ChatRequest) -> APIError:
    """The error of one of a request's strengths, which names it where there are several."""
    if chat.calib.strengths and error.param == "calib.strength":
        error.param = f"calib.strengths.{index}"
    return error


async def _watch(worker: Worker) -> None:
    """Answer requests of a worker whose model hangs, until cancelled."""
    while True:
        worker.end_stalled()
        await asyncio.sleep(CHECK_SECONDS)


def _model_info(server: Server, name: str) -> dict[str, Any]:
    served = server.served.named(name)
    calibrated = served.method is not None and name == served.name
    verdict = {"verdict": served.verdict} if calibrated and served.verdict else {}
    return {
        "id": name,
        "object": "model",
        "created": server.started,
        "owned_by": "calib",
        "root": server.served.vlm.checkpoint,
        "max_model_len": server.served.context_length,
        **verdict,
    }
