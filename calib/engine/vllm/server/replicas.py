"""Servers that serve one model: which of them gets the next request, and which come back."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from calib.config.engine import VllmChoice
from calib.engine.vllm.server.replica import NoCompletion, Replica, Served, Wanted
from calib.models import backoff
from calib.models.api_key import ApiKey
from calib.util.errors import CalibError
from calib.util.progress import log_line

SAVED = "Finished rows, if any, are saved."
LONGEST_WAIT = 15.0
"""Seconds between two questions to a server that does not answer, at most."""


class Replicas:
    """The servers of a run. All coroutines run in one event loop."""

    def __init__(
        self, config: VllmChoice, checkpoint: str, key: ApiKey, openai: ModuleType
    ) -> None:
        self.config, self.key, self._openai = config, key, openai
        self._wanted = Wanted(checkpoint, config.served_model)
        self.served: Served | None = None
        """What every server must say about itself; None before the first has answered."""
        self._all = [Replica(url, key, config.timeout, openai) for url in config.urls]
        self._failure: CalibError | None = None
        self._changed = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def reachable(self) -> list[Replica]:
        """The servers that requests may be sent to."""
        return [replica for replica in self._all if replica.is_up]

    async def connect(self) -> None:
        """Identify all servers; those that cannot be reached are tried again later.

        Raises CalibError if none can be reached, or one serves another model than it should.
        """
        errors = await asyncio.gather(*(self._try_to_reach(replica) for replica in self._all))
        unreachable = [(r, e) for r, e in zip(self._all, errors, strict=True) if e is not None]
        if len(unreachable) == len(self._all):
            replica, error = unreachable[0]
            raise CalibError(
                "endpoint",
                f"engine.base_url: {replica.url} cannot be reached ({self.short(error)}). Start "
                "the server, wait until its /health answers, and run the same command again.",
            )
        for replica, _ in unreachable:
            self.leave_out(replica)

    async def acquire(self) -> Replica:
        """The server with the fewest requests in flight, once one can be reached.

        Raises CalibError if none could be reached for too long, or one serves something else.
        """
        async with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                limit = self.config.rows_in_flight
                free = [r for r in self._all if r.is_up and r.in_flight < limit]
                if free:
                    replica = min(free, key=lambda r: r.in_flight)
                    if not replica.may_have_restarted:
                        replica.in_flight += 1
                        return replica
                    self.leave_out(replica)
                await self._changed.wait()

    async def release(self, replica: Replica) -> None:
        """Count a request as ended."""
        async with self._changed:
            replica.in_flight -= 1
            self._changed.notify_all()

    def leave_out(self, replica: Replica) -> None:
        """Send no requests to a server until it has said again what it serves."""
        replica.is_up = False
        if replica.recovery is None:
            replica.recovery = asyncio.ensure_future(self._wait_for(replica))

    async def _wait_for(self, replica: Replica) -> None:
        tries = 0
        try:
            while error := await self._try_to_reach(replica):
                tries += 1
                if tries == 1:
                    log_line(
                        f"{replica.url} does not answer ({self.short(error)}); trying again, up to "
                        f"engine.restart_wait={self.config.restart_wait:g} minutes"
                    )
                if self._seconds_without_server() > 60 * self.config.restart_wait:
                    raise CalibError("endpoint", self._gone(replica, error))
                await asyncio.sleep(min(backoff.backoff(error, tries), LONGEST_WAIT))
            if tries:
                log_line(f"{replica.url} answers again")
        except CalibError as failure:
            self._failure = failure
        finally:
            replica.recovery = None
            async with self._changed:
                self._changed.notify_all()

    async def _try_to_reach(self, replica: Replica) -> Exception | None:
        """Identify a server; the error if it cannot be reached.

        Raises CalibError if it serves something else than the run's servers, or refuses the key.
        """
        try:
            served = await replica.identify(self._wanted)
        except (self._openai.APIConnectionError, NoCompletion) as error:
            return error
        except self._openai.APIStatusError as error:
            if backoff.is_transient(error, self._openai):
                return error
            if error.status_code in (404, 405):
                raise CalibError(
                    "endpoint",
                    f"engine.base_url: {replica.url} is no vLLM server ({self.short(error)}). Give "
                    "the address of one without the path, e.g. http://localhost:8000.",
                ) from None
            raise CalibError("endpoint", self.explain(replica, error, 1)) from None
        self.served = self.served or served
        self._require(replica, self.served.differences(served))
        replica.served, replica.is_up = served, True
        return None

    def require_same(self, replica: Replica, reply: dict[str, Any]) -> None:
        """Refuse a completion of another model or of other settings than the server had."""
        assert replica.served is not None
        expected = {
            "model": replica.served.model,
            "system_fingerprint": replica.served.system_fingerprint,
        }
        fields = [
            f"{name}: {value} -> {reply.get(name)}"
            for name, value in expected.items()
            if reply.get(name) != value
        ]
        self._require(replica, fields)

    def _require(self, replica: Replica, differences: Sequence[str]) -> None:
        if differences:
            raise CalibError(
                "mismatch",
                f"engine.base_url: {replica.url} serves something else than this run's rows come "
                f"from ({'; '.join(differences)}). {SAVED} Start it with the same model, version "
                "and settings, and run the same command again.",
            )

    async def preemptions(self) -> dict[str, float]:
        """Interrupted requests so far, by the address of each server that answers."""
        counts = {}
        for replica in self.reachable:
            with contextlib.suppress(self._openai.APIError, NoCompletion):
                counts[replica.url] = await replica.preemptions()
        return counts

    def _seconds_without_server(self) -> float:
        """Time since the last reply, if no server can be reached now."""
        up = any(replica.is_up for replica in self._all)
        return 0.0 if up else time.monotonic() - max(r.last_used for r in self._all)

    def _gone(self, replica: Replica, error: Exception) -> str:
        return (
            f"engine.base_url: {replica.url} did not answer for {self.config.restart_wait:g} "
            f"minutes ({self.short(error)}). {SAVED} Start the server and run the same "
            "command again, or give it more time with engine.restart_wait."
        )

    def short(self, error: Exception) -> str:
        """An error in one line, without the key."""
        status = getattr(error, "status_code", None)
        said = [backoff.server_message(error), str(error.__cause__ or "")]
        message = self.key.redact(": ".join(text.rstrip(".") for text in said if text))[:300]
        kind = f"status {status}" if status else type(error).__name__
        return f"{kind}: {message}"

    def explain(self, replica: Replica, error: Exception, tries: int) -> str:
        """Message about a request that failed for good."""
        times = f" after {tries} tries" if tries > 1 else ""
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            advice = f"Check the key in {self.config.key_env} (engine.key_env)."
        elif isinstance(status, int) and status < 500:
            advice = "The server's message says which of its options the run needs."
        else:
            advice = (
                "See the server's log. A smaller engine.rows_in_flight, a larger engine.timeout or "
                "more engine.retries may help."
            )
        saved = "" if replica.served is None else f" {SAVED}"
        return (
            f"engine.base_url: a request to {replica.url} failed{times} ({self.short(error)}). "
            f"{advice}{saved}"
        )

    async def close(self) -> None:
        """Close all connections."""
        for replica in self._all:
            await replica.close()
