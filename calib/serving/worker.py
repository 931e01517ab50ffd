"""The worker thread: takes queued jobs in batches and runs the model on them."""

import contextlib
import gc
import logging
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image

from calib.data.example import Example
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.serving.api_errors import APIError, server_error, unavailable
from calib.serving.batch import answer_batch
from calib.serving.job import Event, Job
from calib.serving.served_model import ServedModel
from calib.util.errors import CalibError

GATHER_SECONDS = 0.005
"""Time an idle worker waits after a first request, so that requests sent together share a batch."""
MAX_ENGINES = 16
"""Number of decoding settings whose engines are cached; a new engine runs a self-check."""
MAX_FAILURES = 3
"""Number of consecutive failed batches after which the server reports itself unhealthy."""

log = logging.getLogger("calib.serve")


class Worker:
    """Answers jobs in one thread, which no failing job ends."""

    def __init__(self, served: ServedModel) -> None:
        self.served = served
        self.failures = 0
        """Number of failed batches since the last successful one."""
        self._engines: OrderedDict[Decoding, Engine] = OrderedDict()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._changed = threading.Condition()
        """Guards the two lists and ``_stopped``."""
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="calib worker", daemon=True)

    @property
    def healthy(self) -> bool:
        """Whether the thread is running and recent batches did not all fail."""
        return self._thread.is_alive() and not self._stopped and self.failures < MAX_FAILURES

    @property
    def open_jobs(self) -> int:
        """Number of jobs that wait or are being answered."""
        return len(self._waiting) + len(self._running)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Refuse all further jobs; running ones end at their next token.

        Waits up to ``timeout`` seconds for the thread to end.
        """
        with self._changed:
            self._stopped = True
            for job in self._running:
                job.cancelled = True
            self._changed.notify()
        self._thread.join(timeout)

    def submit(self, job: Job) -> None:
        """Queue a job.

        Raises APIError (503) if the worker is stopping or its thread has ended.
        """
        with self._changed:
            if self._stopped:
                raise unavailable()
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Remove a job from the queue, or end it at its next token."""
        job.cancelled = True
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.release_images()

    def warm_up(self, decoding: Decoding) -> list[str]:
        """Run requests with and without an image, edited and unedited, before accepting traffic.

        Returns a message for each that fails; raises CalibError if all fail.
        """
        messages: list[str] = []
        setting = self.served.setting(self.served.layer, self.served.strength)
        flow = setting.intervention.prompt_flow
        for example in WARM_UP_EXAMPLES:
            prompt = flow.next(example, ()) if flow else example
            assert isinstance(prompt, Example)
            try:
                edits = setting.intervention.edits_for([prompt])[0]
                engine = Engine(self.served.vlm, replace(decoding, max_new_tokens=1))
                engine.answer([Request(prompt), Request(prompt, edits)])
            except CalibError as error:
                messages.append(f"{example.id}: {error}")
                if len(messages) == len(WARM_UP_EXAMPLES):
                    raise
        return messages

    def _work(self) -> None:
        try:
            while (jobs := self._next_batch()) is not None:
                self._run(jobs)
        except BaseException as error:
            log.critical("the worker thread has ended: %s", type(error).__name__)
        finally:
            # However the thread ended, no client may wait for it.
            with self._changed:
                self._stopped = True
                jobs, self._waiting = self._waiting, []
            _fail(jobs, unavailable())

    def _run(self, jobs: Sequence[Job]) -> None:
        try:
            self._answer([job for job in jobs if not job.cancelled])
        except BaseException as error:
            _fail(jobs, self._report(len(jobs), error))
        finally:
            with self._changed:
                self._running = []
            if self._stopped:
                _fail(jobs, unavailable())  # ignored by clients that have their response
            for job in jobs:
                job.release_images()

    def _next_batch(self) -> list[Job] | None:
        """Wait for jobs and take the first with all that share its decoding settings; None when the
        worker is stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
            if not self._stopped:
                self._gather()
            with self._changed:
                if self._stopped:
                    return None
                # All jobs may have been cancelled while others were gathered.
                if self._waiting:
                    decoding = self._waiting[0].decoding
                    self._running = [job for job in self._waiting if job.decoding == decoding]
                    self._waiting = [job for job in self._waiting if job.decoding != decoding]
                    return self._running

    def _gather(self) -> None:
        time.sleep(GATHER_SECONDS)

    def _answer(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        error = self._attempt(jobs)
        if error is None:
            return
        if len(jobs) > 1:
            # A single job may be at fault, or the batch was too large for the memory.
            self._free_memory()
            for job in jobs:
                if not job.cancelled:
                    self._answer([job])
            return
        self.failures += 1
        _fail(jobs, error)
        self._free_memory()

    def _reset_failures(self) -> None:
        self.failures = 0

    def _attempt(self, jobs: Sequence[Job]) -> APIError | None:
        try:
            engine = self._engine(jobs[0].decoding)
            # Failures are reset before the responses are sent: /health is correct by then.
            answer_batch(self.served, engine, jobs, self._reset_failures)
            return None
        except BaseException as error:  # also SystemExit, which would end the thread silently
            return self._report(len(jobs), error)

    def _report(self, count: int, error: BaseException) -> APIError:
        if isinstance(error, CalibError):
            log.error("a batch of %d requests failed: %s", count, error)
            return server_error(str(error))
        # The message is not logged: it may quote a request.
        stack = "".join(traceback.format_tb(error.__traceback__))
        log.error("a batch of %d requests failed: %s\n%s", count, type(error).__name__, stack)
        if isinstance(error, MemoryError | torch.OutOfMemoryError):
            return server_error("The server has too little memory for this request.", "no_memory")
        return server_error(f"The server failed ({type(error).__name__}); see its log.")

    def _engine(self, decoding: Decoding) -> Engine:
        if decoding not in self._engines:
            self._engines[decoding] = Engine(self.served.vlm, decoding)
            if len(self._engines) > MAX_ENGINES:
                self._engines.popitem(last=False)
        self._engines.move_to_end(decoding)
        return self._engines[decoding]

    def _free_memory(self) -> None:
        self._engines.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _fail(jobs: Sequence[Job], error: Event) -> None:
    for job in jobs:
        with contextlib.suppress(Exception):
            job.notify(error)


def _blank_image() -> Image.Image:
    return Image.new("RGB", (64, 64), "white")


def _warm_up_example(name: str, with_image: bool) -> Example:
    return Example(
        id=name,
        dataset="probe",
        variant="probe",
        category="probe",
        split="test",
        query="What is this?",
        picture=_blank_image if with_image else None,
    )


WARM_UP_EXAMPLES = (
    _warm_up_example("requests without an image", False),
    _warm_up_example("requests with an image", True),
)
