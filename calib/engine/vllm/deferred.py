"""vLLM that is started when its first request is sent: a finished run needs none."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from calib.config.engine import VllmChoice
from calib.engine.vllm.request import Backend, Completion, VllmRequest


class Deferred:
    """A backend that is started by ``start``, or by its first request."""

    def __init__(self, choice: VllmChoice, make: Callable[[], Backend]) -> None:
        """``make`` starts or reaches vLLM as ``choice`` describes it."""
        self.choice, self._make = choice, make
        self._backend: Backend | None = None
        self._callbacks: list[Callable[[Backend], None]] = []

    @property
    def is_started(self) -> bool:
        return self._backend is not None

    def start(self) -> Backend:
        """The backend, started if it was not. Raises CalibError as ``make`` does."""
        if self._backend is None:
            self._backend = self._make()
            for callback in self._callbacks:
                callback(self._backend)
        return self._backend

    def when_started(self, callback: Callable[[Backend], None]) -> None:
        """Call ``callback`` with the backend after the start, before the first request: now, if it
        has started."""
        if self._backend is not None:
            callback(self._backend)
        else:
            self._callbacks.append(callback)

    @property
    def rows_in_flight(self) -> int:
        """See Backend."""
        return self.choice.rows_in_flight * max(1, len(self.choice.urls))

    @property
    def runs_hooks(self) -> bool:
        """See Backend."""
        return self.choice.hooks or not self.choice.urls

    def complete(
        self, requests: Sequence[VllmRequest], window: int
    ) -> Iterator[tuple[int, Completion]]:
        """See Backend. Without requests, nothing is started."""
        return self.start().complete(requests, window) if requests else iter(())

    def complete_everywhere(self, request: VllmRequest) -> list[Completion]:
        """See Backend."""
        return self.start().complete_everywhere(request)

    def describe(self) -> dict[str, Any]:
        """See Backend."""
        return self.start().describe()

    @property
    def notes(self) -> list[str]:
        """See Backend."""
        return [] if self._backend is None else self._backend.notes

    def close(self) -> None:
        """See Backend."""
        if self._backend is not None:
            self._backend.close()
