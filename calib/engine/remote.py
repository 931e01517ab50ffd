"""Responses of a remote model, with several requests in flight.

Responses are yielded in the order in which the endpoint returns them. A new request starts only
after the caller has taken, and saved, an earlier response, so a killed process loses at most as
many responses as requests may be in flight.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore

from calib.engine.request import Decoding, Request, Response
from calib.models.backoff import TOO_LONG
from calib.models.endpoint import Aborted, Reply
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError
from calib.util.listing import shortened

_LISTED = 10
"""Examples that an error lists."""


class RemoteEngine:
    """Generates responses with one remote model and one set of decoding settings."""

    def __init__(self, vlm: RemoteModel, decoding: Decoding, skip_long: bool = False) -> None:
        """``skip_long`` says that a prompt which exceeds the model's context gets a response with
        finish "too_long", instead of an error once all others are answered."""
        self.vlm, self.decoding, self.skip_long = vlm, decoding, skip_long
        self.rows = 0
        """Responses received so far."""

    @property
    def notes(self) -> list[str]:
        """Notes about how responses were computed, for the reader of a run."""
        sent = self.vlm.endpoint.requests_sent
        if not sent:
            return []
        return [f"{self.vlm.checkpoint}: sent {sent} requests for {self.rows} rows"]

    def stream(
        self, requests: Sequence[Request]
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """Yield lists of (index of the request, response) as responses arrive.

        Taking the next list tells the engine that the previous one is saved.

        After an error or Ctrl-C no further request starts; responses of requests in flight are
        yielded before the error is raised. Raises CalibError if the endpoint fails or the budget
        is used up, and, after all other responses, if prompts exceed the model's context.
        """
        self.vlm.endpoint.resume()
        error: BaseException | None = None
        too_long: dict[str, None] = {}  # ids of examples, in order
        done: SimpleQueue[Future[Response]] = SimpleQueue()
        concurrency = self.vlm.config.concurrency
        free = Semaphore(concurrency)
        with ThreadPoolExecutor(concurrency) as pool:
            indices: dict[Future[Response], int] = {}
            try:
                for index, request in enumerate(requests):
                    indices[pool.submit(self._respond_or_abort, request, free)] = index
                for future in indices:
                    future.add_done_callback(done.put)
                pending = dict.fromkeys(indices)
                while pending:
                    try:
                        futures = [done.get()]
                        while not done.empty():
                            futures.append(done.get())
                    except KeyboardInterrupt as interrupt:
                        error = interrupt
                        self._abort(indices, free)
                        futures = list(pending)  # result() below waits for those in flight
                    for future in futures:
                        del pending[future]
                    responses = []
                    for future in futures:
                        try:
                            response = future.result()
                            if response.finish == "too_long" and not self.skip_long:
                                too_long[requests[indices[future]].example.id] = None
                            else:
                                responses.append((indices[future], response))
                        except (Aborted, CancelledError):
                            continue  # not sent, because of an earlier error
                        except CalibError as failure:
                            error = error or failure
                            self._abort(indices, free)
                    self.rows += len(responses)
                    if responses:
                        yield responses
                    free.release(len(futures))
            except BaseException:
                self._abort(indices, free)  # leaving the pool waits for requests in flight
                raise
        if error is not None:
            raise error
        if too_long:
            raise self._too_long(list(too_long))

    def _too_long(self, examples: Sequence[str]) -> CalibError:
        listed = ", ".join(shortened((f"'{name}'" for name in examples), _LISTED))
        return CalibError(
            "too-large",
            f"the prompts of {len(examples)} examples exceed the context of "
            f"{self.vlm.checkpoint}: {listed}. Finished rows are saved. Leave these out of "
            "the rates with data.skip_long=true, or shorten them: fewer demonstrations, smaller "
            "pictures (model.image_side), a smaller generation.max_new_tokens.",
        )

    def _abort(self, futures: dict[Future[Response], int], free: Semaphore) -> None:
        self.vlm.endpoint.abort()
        for future in futures:
            future.cancel()
        # Wakes up threads that wait for a free place, so that they notice the abort.
        free.release(self.vlm.config.concurrency)

    def _respond_or_abort(self, request: Request, free: Semaphore) -> Response:
        free.acquire()
        try:
            decoding = self.decoding
            reply = self.vlm.respond(
                request.example,
                decoding.max_new_tokens,
                decoding.temperature,
                decoding.top_p,
                request.seed,
            )
            return _response(reply)
        except BaseException:
            self.vlm.endpoint.abort()  # here, before this thread starts another request
            raise


def _response(reply: Reply) -> Response:
    finish = "blocked" if reply.blocked else "length" if reply.truncated else "stop"
    if reply.blocked == TOO_LONG:
        finish = "too_long"
    metadata: dict[str, object] = {
        "tokens": reply.tokens,
        "prompt_tokens": reply.prompt_tokens,
        "model": reply.model,
        "seconds": round(reply.seconds, 3),
    }
    if reply.blocked:
        metadata["blocked"] = reply.blocked
    # With an empty text, a separately reported refusal is the model's response.
    return Response(reply.text or reply.refusal, (), finish, None, metadata)
