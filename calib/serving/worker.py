"""The worker thread: takes queued jobs in batches and runs the model on them.

An error in a batch fails its jobs and nothing else. An error in the loop itself ends the thread; a
new one continues with the waiting jobs. Where the model hangs, ``end_stalled`` answers its jobs.
"""

import gc
import logging
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence

import torch

from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.serving.api_errors import (
    APIError,
    server_error,
    stalled,
    unavailable,
    worker_ended,
)
from calib.serving.batch import answer_batch
from calib.serving.job import Event, Job
from calib.serving.served_model import ServedModel
from calib.serving.watch import Watch
from calib.util.errors import CalibError

GATHER_SECONDS = 0.005
"""Time an idle worker waits after a first request, so that requests sent together share a batch."""
MAX_ENGINES = 16
"""Number of decoding settings whose engines are cached; a new engine runs a self-check."""
MAX_RESTARTS = 1
"""Number of times that an ended thread is replaced without a successful batch in between."""
MAX_FAILURES = 3
"""Number of consecutive failed batches after which the server reports itself unhealthy."""

log = logging.getLogger("calib.serve")


class Worker:
    """Answers jobs in one thread, which no failing job ends and which is replaced if it ends."""

    def __init__(self, served: ServedModel, watch: Watch | None = None) -> None:
        self.served, self.watch = served, watch or Watch()
        self.watch.follow(served.vlm.model)
        self.failures = 0
        """Number of failed batches since the last successful one."""
        self.restarts = 0
        """Number of times that the thread has been replaced since the server started."""
        self._restarts_in_a_row = 0
        self._large_next = False
        """Whether a job with large pictures has the next turn, if one waits."""
        self._engines: OrderedDict[Decoding, Engine] = OrderedDict()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._changed = threading.Condition()
        """Guards the two lists, ``_stopped`` and ``_thread``."""
        self._stopped = False
        self._thread = self._new_thread()

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._work, name="calib worker", daemon=True)

    @property
    def problem(self) -> str | None:
        """Why the worker is unhealthy: "worker_ended", "stopping", "stalled" (the model makes no
        progress) or "failed_batches"; None if it is healthy."""
        if self._stopped:
            return "stopping"
        if not self._thread.is_alive():
            return "worker_ended"
        if self.stalled:
            return "stalled"
        return "failed_batches" if self.failures >= MAX_FAILURES else None

    @property
    def stalled(self) -> bool:
        """Whether a batch runs and the model has made no progress for too long."""
        return bool(self._running) and self.watch.expired

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
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self.watch.end()

    def submit(self, *jobs: Job) -> None:
        """Queue jobs; those of one request are answered in one batch.

        Raises APIError (503) if the worker is stopping, its thread has ended or its model hangs.
        """
        with self._changed:
            if self._stopped:
                raise unavailable()
            if self._thread.ident is not None and not self._thread.is_alive():
                raise worker_ended()
            if self.stalled:
                raise stalled(self.watch.limit)
            self._waiting += jobs
            self._changed.notify()

    def cancel(self, job: Job) -> None:
        """Remove a job from the queue, or end it at its next token."""
        job.cancelled = True
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.release_images()

    def end_stalled(self) -> None:
        """Answer all open jobs with an error (503) if the model makes no progress.

        The thread cannot be ended. If the forward pass does return, the batch ends at its next
        token and the worker goes on.
        """
        with self._changed:
            if not self.stalled:
                return
            running, waiting = list(self._running), self._waiting
            self._waiting = []
            new = [job for job in (*running, *waiting) if not job.finished]
            for job in running:
                job.cancelled = True
        error = stalled(self.watch.limit)
        for job in new:
            job.send(error)
        for job in waiting:  # pictures of the others may be in use
            job.release_images()
        if new:
            log.critical("%d requests failed: %s", len(new), error)

    def _work(self) -> None:
        try:
            while (jobs := self._next_batch()) is not None:
                self._run(jobs)
        except BaseException as error:  # also SystemExit, which would end the thread silently
            # The message is not logged: it may quote a request.
            stack = "".join(traceback.format_tb(error.__traceback__))
            log.critical("the worker thread has ended: %s\n%s", type(error).__name__, stack)
        finally:
            self._after_thread()

    def _after_thread(self) -> None:
        """Replace the ended thread, or else fail all jobs, so that no client waits in vain."""
        with self._changed:
            interrupted, self._running = self._running, []
            restarted = not self._stopped and self._restart()
            waiting: list[Job] = []
            if not restarted:
                waiting, self._waiting = self._waiting, []
        error = unavailable() if self._stopped else worker_ended()
        _fail([*interrupted, *waiting], error)

    def _restart(self) -> bool:
        if self._restarts_in_a_row >= MAX_RESTARTS:
            log.critical("the worker is not restarted again: restart the server")
            return False
        thread = self._new_thread()
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            log.critical("no new worker thread could be started: restart the server")
            return False
        self._thread = thread
        self.restarts += 1
        self._restarts_in_a_row += 1
        log.critical("a new worker thread has been started")
        return True

    def _run(self, jobs: Sequence[Job]) -> None:
        try:
            self._answer([job for job in jobs if not job.cancelled])
            error = unavailable() if self._stopped else server_error("The server has no response.")
        except BaseException as failure:
            error = self._report(len(jobs), failure)
        _fail(jobs, error)  # has no effect on jobs that have their response
        with self._changed:
            self._running = []

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
                    self.watch.mark()
                    self._running, self._waiting = self._split(self._waiting)
                    return self._running

    def _split(self, waiting: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """The jobs of the next batch, and the others.

        Jobs with large pictures get batches of their own, in turn with batches of other jobs: these
        wait for the pictures of one request at most.
        """
        large = [job for job in waiting if job.large]
        small = [job for job in waiting if not job.large]
        self._large_next = bool(large) and (self._large_next or not small)
        if self._large_next:
            batch = [job for job in large if job.conversation is large[0].conversation]
        else:
            batch = [job for job in small if job.decoding == small[0].decoding]
        self._large_next = not self._large_next
        return batch, [job for job in waiting if job not in batch]

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
        jobs[0].send(error)  # its pictures may be those of another job of the same request
        self._free_memory()

    def _reset_failures(self) -> None:
        self.failures = self._restarts_in_a_row = 0

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
        job.send(error)
        job.release_images()
