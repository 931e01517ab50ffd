"""Answers of a remote model, several requests under way at once.

What lands is handed over at once, in the order in which the endpoint answers. A request that was
answered makes room for another once its answer is safe on the disk: a killed process loses no more
answers than requests may be under way.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Semaphore

from calib.engine.request import Decoding, Request, Response
from calib.models.endpoint import Aborted, Reply
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError


class RemoteEngine:
    """Answers rows with one remote model under one way of decoding."""

    def __init__(self, vlm: RemoteModel, decoding: Decoding) -> None:
        self.vlm, self.decoding = vlm, decoding
        self.rows = 0
        """Rows answered so far."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the run should know about how it was computed."""
        asked = self.vlm.endpoint.requests_sent
        if not asked:
            return []
        return [f"{self.vlm.checkpoint}: {asked} requests for {self.rows} rows were made just now"]

    def landing(
        self, asked: Sequence[Request]
    ) -> Generator[list[tuple[int, Response]], None, None]:
        """Responses by the place of their row, a few at a time as they land. Asking for more says
        that those before are safe.

        Raises what stopped it (CalibError when the endpoint gives no answer or the budget is used
        up, KeyboardInterrupt) after all that was under way has landed: what was paid for is kept.
        """
        self.vlm.endpoint.resume()
        failed: BaseException | None = None
        landed: SimpleQueue[Future[Response]] = SimpleQueue()
        most = self.vlm.config.concurrency
        room = Semaphore(most)
        with ThreadPoolExecutor(most) as pool:
            places: dict[Future[Response], int] = {}
            try:
                for place, one in enumerate(asked):
                    places[pool.submit(self._answer_or_halt, one, room)] = place
                for future in places:
                    future.add_done_callback(landed.put)
                waiting = dict.fromkeys(places)
                while waiting:
                    try:
                        some = [landed.get()]
                        while not landed.empty():
                            some.append(landed.get())
                    except KeyboardInterrupt as error:
                        failed = error
                        self._stop(places, room)
                        some = list(waiting)  # their results are waited for below
                    for future in some:
                        del waiting[future]
                    found = []
                    for future in some:
                        try:
                            found.append((places[future], future.result()))
                        except (Aborted, CancelledError):
                            continue  # not asked any more, because of what failed
                        except CalibError as error:
                            failed = failed or error
                            self._stop(places, room)
                    self.rows += len(found)
                    if found:
                        yield found
                    room.release(len(some))
            except BaseException:
                self._stop(places, room)  # the pool waits for what is under way before it lets go
                raise
        if failed is not None:
            raise failed

    def _stop(self, places: dict[Future[Response], int], room: Semaphore) -> None:
        self.vlm.endpoint.abort()
        for future in places:
            future.cancel()
        room.release(self.vlm.config.concurrency)  # who waits for room hears of the halt

    def _answer_or_halt(self, one: Request, room: Semaphore) -> Response:
        room.acquire()
        try:
            how = self.decoding
            reply = self.vlm.respond(
                one.example, how.max_new_tokens, how.temperature, how.top_p, one.seed
            )
            return _response(reply)
        except BaseException:
            self.vlm.endpoint.abort()  # here, before this thread takes the next row
            raise


def _response(reply: Reply) -> Response:
    finish = "blocked" if reply.blocked else "length" if reply.truncated else "stop"
    said: dict[str, object] = {
        "tokens": reply.tokens,
        "prompt_tokens": reply.prompt_tokens,
        "model": reply.model,
        "seconds": round(reply.seconds, 3),
    }
    if reply.blocked:
        said["blocked"] = reply.blocked
    # A refusal beside an empty text is the model's own, and what a reader sees.
    return Response(reply.text or reply.refusal, (), finish, None, said)
