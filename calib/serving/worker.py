"""The one thread that asks the model: requests wait for it in a queue, and go in batches."""

import gc
import logging
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch

from calib.data.example import Example
from calib.engine.engine import Engine
from calib.engine.request import Decoding, Request
from calib.serving.api_errors import APIError, failed, stopping
from calib.serving.batch import answer
from calib.serving.calibrated import Calibrated
from calib.serving.job import Job
from calib.util.errors import CalibError

GATHERING = 0.005
"""Seconds that an idle worker waits for more requests behind a first one: they go together then."""
ENGINES = 16
"""Ways of decoding that are kept; making one again compares a few rows with plain generate."""
FAILURES = 3
"""Batches that failed one after the other, from which on the server calls itself unwell."""

log = logging.getLogger("calib.serve")


class Worker:
    """Answers jobs; whatever happens to a batch, it goes on with the next."""

    def __init__(self, served: Calibrated) -> None:
        self.served = served
        self.failures = 0
        """Batches that failed since one was answered."""
        self._engines: OrderedDict[Decoding, Engine] = OrderedDict()
        self._waiting: list[Job] = []
        self._going: list[Job] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="calib worker", daemon=True)

    @property
    def well(self) -> bool:
        """Whether requests can hope for an answer."""
        return self._thread.is_alive() and not self._stopped and self.failures < FAILURES

    @property
    def waiting(self) -> int:
        """Requests that wait or are being answered."""
        return len(self._waiting) + len(self._going)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Answer nobody any more; what is under way ends at its next token."""
        with self._changed:
            self._stopped = True
            for job in self._going:
                job.cancelled = True
            self._changed.notify()
        self._thread.join(seconds)

    def submit(self, job: Job) -> None:
        """Have a job answered.

        Raises Refused where the server stops.
        """
        with self._changed:
            if self._stopped:
                raise stopping()
            self._waiting.append(job)
            self._changed.notify()

    def drop(self, job: Job) -> None:
        """Nobody waits for a job any more: it is not begun, or ends at its next token."""
        job.cancelled = True
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.let_go()

    def warm(self, decoding: Decoding, examples: Sequence[Example]) -> list[str]:
        """Ask the model about each of ``examples``, calibrated and not, before anybody waits.

        Returns which of them it cannot be asked about, and why; raises CalibError where it is all.
        """
        refused = []
        point = self.served.setting(self.served.layer, self.served.strength)
        for example in examples:
            dialogue = point.intervention.prompt_flow
            shown = dialogue.next(example, ()) if dialogue else example
            assert isinstance(shown, Example)
            try:
                edits = point.intervention.edits_for([shown])[0]
                few = Engine(self.served.vlm, replace(decoding, max_new_tokens=1))
                few.answer([Request(shown), Request(shown, edits)])
            except CalibError as error:
                refused.append(f"{example.id}: {error}")
        if len(refused) == len(examples):
            raise CalibError(refused[0])
        return refused

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
            if not self._stopped:
                time.sleep(GATHERING)
            with self._changed:
                if self._stopped:
                    for job in self._waiting:
                        job.tell(stopping())
                    self._waiting.clear()
                    return
                # In their order of arrival, with all that can go along with the first.
                first = self._waiting[0].decoding
                self._going = [job for job in self._waiting if job.decoding == first]
                self._waiting = [job for job in self._waiting if job.decoding != first]
            wanted = [job for job in self._going if not job.cancelled]
            try:
                if wanted:
                    self._answer(wanted)
            finally:
                with self._changed:
                    done, self._going = self._going, []
                for job in done:
                    job.let_go()

    def _answer(self, jobs: Sequence[Job]) -> None:
        problem = self._attempt(jobs)
        if problem is None:
            return
        if len(jobs) > 1:
            # One of them may be to blame, or all may have been too much at once.
            self._free()
            for job in jobs:
                if not job.cancelled:
                    self._answer([job])
            return
        self.failures += 1
        jobs[0].tell(problem)
        self._free()

    def _succeeded(self) -> None:
        # Before anyone has the answer: who has one finds the server well.
        self.failures = 0

    def _attempt(self, jobs: Sequence[Job]) -> APIError | None:
        try:
            answer(self.served, self._engine(jobs[0].decoding), jobs, self._succeeded)
            return None
        except CalibError as error:
            log.error("a batch of %d requests failed: %s", len(jobs), error)
            return failed(str(error))
        except Exception as error:
            # The message is left out: it may quote what was asked.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error(
                "a batch of %d requests failed: %s\n%s", len(jobs), type(error).__name__, where
            )
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                return failed("the server's memory is not enough for this request.", "no_memory")
            return failed(f"the server failed ({type(error).__name__}); its log says where.")

    def _engine(self, decoding: Decoding) -> Engine:
        if decoding not in self._engines:
            self._engines[decoding] = Engine(self.served.vlm, decoding)
            if len(self._engines) > ENGINES:
                self._engines.popitem(last=False)
        self._engines.move_to_end(decoding)
        return self._engines[decoding]

    def _free(self) -> None:
        self._engines.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
