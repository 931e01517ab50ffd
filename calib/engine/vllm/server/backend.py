"""Completions of vLLM servers with the plugin vllm-lens, over HTTP.

A request that is lost, because its server was killed or did not answer in time, is sent again. A
server that could not be reached says what it serves before it gets another request, and every
completion names model and settings: a server that comes back with another model, version or
settings ends the run, and adds no row.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from queue import SimpleQueue
from typing import Any

from calib.config.engine import VllmChoice
from calib.engine.vllm.packages import CLIENT
from calib.engine.vllm.request import TOO_LONG, Completion, VllmRequest, not_finite
from calib.engine.vllm.server.replica import NoCompletion
from calib.engine.vllm.server.replicas import Replicas
from calib.engine.vllm.server.wire import MALFORMED, chat_body, parse_completion
from calib.models import backoff
from calib.models.api_key import read_key
from calib.models.endpoint import import_openai
from calib.util.errors import CalibError
from calib.util.progress import waiting

_RECHECK = (404, 502, 503, 504)
"""Statuses of a server that has another model now, or of a proxy in front of one that is down."""
_NO_JSON = "not JSON compliant"
"""Part of vLLM's error (400) where log-probabilities are not finite: JSON has no such numbers."""
_AHEAD = 2
"""Requests in flight plus completions that the caller has not taken, in windows."""

Results = SimpleQueue[tuple[int, Completion] | BaseException]


class ServerBackend:
    """The backend of engine.base_url: one vLLM server, or several that serve the same model.

    A context manager. Thread-safe.
    """

    def __init__(self, config: VllmChoice, checkpoint: str) -> None:
        """``checkpoint`` is the source of the run's weights, which the servers must serve.

        Raises CalibError if packages are missing, no server can be reached, one of them serves
        another model, or they differ.
        """
        self.config = config
        self._openai = import_openai(CLIENT)
        key = read_key(config.key_env, "engine.key_env")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._replicas = Replicas(config, checkpoint, key, self._openai)
            with waiting(f"waiting for {', '.join(config.urls)}"):
                self._submit(self._replicas.connect).result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "ServerBackend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def rows_in_flight(self) -> int:
        """Requests that all replicas together work on at once."""
        return self.config.rows_in_flight * len(self.config.urls)

    @property
    def runs_hooks(self) -> bool:
        """Whether the owner of the servers allows code to be sent to them."""
        return self.config.hooks

    @property
    def notes(self) -> list[str]:
        """Notes for the reader of a run; they do not depend on timing."""
        return []

    def describe(self) -> dict[str, Any]:
        """Version, model and settings of the servers, for run.json; no address."""
        served = self._replicas.served
        assert served is not None
        fields = asdict(served)
        # Under the names that vLLM in this process has, because one run may use both.
        return {
            "engine": "vllm, server",
            "vllm": fields.pop("version"),
            **fields,
            "dtype": (served.dtype or "").removeprefix("torch.") or None,
            "replicas": len(self._replicas),
        }

    def complete(
        self, requests: Sequence[VllmRequest], window: int
    ) -> Iterator[tuple[int, Completion]]:
        """Yield (index of the request, completion) as completions arrive; see Backend.

        Raises CalibError if a request is refused or lost too often, if no server can be reached for
        engine.restart_wait minutes, or if one of them serves something else than before; and at the
        end, if activations may be wrong because a server ran out of memory.
        """
        results: Results = SimpleQueue()
        untaken = asyncio.Semaphore(_AHEAD * window)
        job = self._submit(self._run, requests, window, untaken, results)
        try:
            for _ in range(len(requests)):
                result = results.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
                self._loop.call_soon_threadsafe(untaken.release)
            job.result()
        finally:
            job.cancel()

    def complete_everywhere(self, request: VllmRequest) -> list[Completion]:
        """See Backend. A server that fails meanwhile gets requests again once it answers."""
        completions: list[Completion] = self._submit(self._everywhere, request).result()
        return completions

    def close(self) -> None:
        """Cancel the requests in flight and close the connections."""
        if self._thread.is_alive():
            self._submit(self._disconnect).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _submit(
        self, function: Callable[..., Coroutine[Any, Any, Any]], *given: Any
    ) -> "Future[Any]":
        coroutine = function(*given)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except BaseException:  # a stop at this moment, or a closed loop
            with contextlib.suppress(ValueError):  # it runs already, and is cancelled later
                coroutine.close()
            raise

    # The methods below run in the event loop, which is in a thread of its own.

    async def _disconnect(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if hasattr(self, "_replicas"):
            await self._replicas.close()

    async def _run(
        self,
        requests: Sequence[VllmRequest],
        window: int,
        untaken: asyncio.Semaphore,
        results: Results,
    ) -> None:
        in_flight = asyncio.Semaphore(window)
        preemptions: dict[str, float] = {}

        async def answer(index: int) -> None:
            try:
                request = requests[index]
                if request.residual_layers is not None and not preemptions:
                    preemptions.update(await self._replicas.preemptions())
                results.put((index, await self._complete(request)))
            finally:
                in_flight.release()

        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(requests)):
                    await untaken.acquire()
                    await in_flight.acquire()
                    group.create_task(answer(index))
        except BaseExceptionGroup as errors:  # the first error has cancelled the others
            results.put(errors.exceptions[0])
            return
        if preemptions:
            self._require_no_preemption(preemptions, await self._replicas.preemptions())

    async def _everywhere(self, request: VllmRequest) -> list[Completion]:
        completions = []
        for replica in self._replicas.reachable:
            assert replica.served is not None
            try:
                reply = await replica.send(chat_body(request, replica.served.model))
                completions.append(parse_completion(reply, request))
            except self._openai.APIStatusError as failure:
                message = self._replicas.explain(replica, failure, 1)
                raise CalibError("endpoint", message) from None
            except (self._openai.APIConnectionError, NoCompletion, *MALFORMED):
                self._replicas.leave_out(replica)
        return completions

    def _require_no_preemption(self, before: dict[str, float], now: dict[str, float]) -> None:
        """Refuse activations that were read while a server interrupted requests.

        vllm-lens then returns those of the tokens that were read twice in place of later tokens.
        """
        for url, count in now.items():
            if count > before.get(url, count):
                raise CalibError(
                    "no-memory",
                    f"{url} interrupted {count - before[url]:g} requests for lack of memory while "
                    "activations were read, which makes them wrong. Give a smaller "
                    "engine.rows_in_flight, or start the server with more memory for its cache.",
                )

    async def _complete(self, request: VllmRequest) -> Completion:
        """The completion of one request, which is sent again if it is lost."""
        if request.hooks and not self.config.hooks:
            raise CalibError(
                "unsupported",
                "these edits are code that the server would execute. If it is your own server, "
                "allow it with engine.hooks=true.",
            )
        replicas, tries = self._replicas, 0
        while True:
            replica = await replicas.acquire()
            try:
                assert replica.served is not None
                reply = await replica.send(chat_body(request, replica.served.model))
                replicas.require_same(replica, reply)
                return parse_completion(reply, request)
            except self._openai.APIStatusError as failure:
                error: Exception = failure
                if backoff.blocked_reason(failure) == backoff.TOO_LONG:
                    return Completion("", (), (), TOO_LONG)
                if request.logprobs is not None and _NO_JSON in str(failure):
                    return not_finite()
                if failure.status_code in _RECHECK:
                    replicas.leave_out(replica)
                elif not backoff.is_transient(failure, self._openai):
                    message = replicas.explain(replica, failure, tries + 1)
                    raise CalibError("endpoint", message) from None
            except (self._openai.APIConnectionError, NoCompletion) as failure:  # and timeouts
                error = failure
                replicas.leave_out(replica)
            except MALFORMED as failure:
                error = NoCompletion(
                    f"the reply is no completion of vLLM: {type(failure).__name__}: {failure}"
                )
                replicas.leave_out(replica)
            finally:
                await replicas.release(replica)
            tries += 1
            if tries > self.config.retries:
                raise CalibError("endpoint", replicas.explain(replica, error, tries))
            if replica.is_up:
                await asyncio.sleep(backoff.backoff(error, tries))
