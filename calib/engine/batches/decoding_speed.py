"""Measure how fast rows decode together, and choose their number.

A decoding step reads all weights once, however many rows it has, so more rows mean more tokens per
second until arithmetic, or keys and values that exceed the processor's caches, take longer than
reading the weights. That number of rows depends on the machine. It is measured with a few steps of
the real model, once per engine and length of rows.
"""

import copy
import time
from dataclasses import dataclass, field

import torch

from calib.engine.batches.batching import out_of_memory
from calib.engine.batches.decode_batch import DecodeBatch
from calib.engine.request import DecodingRow, Stats
from calib.engine.sampling import Sampler, Stopping
from calib.models.load import VLM

STEPS = 3
"""Steps with each number of rows. The fastest one counts, since others may be disturbed."""
SECONDS = 5.0
"""Measuring ends before a number of rows that would make it longer than this."""
GAIN = 1.05
"""Speed-up that more rows are used for: each row needs memory and delays the first response."""
FALL = 0.9
"""More rows are not tried at a speed below this share of the highest one."""


@dataclass
class DecodingSpeed:
    """Measured speed of decoding steps with one model."""

    vlm: VLM
    sampler: Sampler
    measured: dict[int, dict[int, float]] = field(default_factory=dict)
    """Tokens per second by length of rows (rounded up to a power of 2) and number of rows."""

    def of(self, row: DecodingRow, count: int, columns: int) -> float | None:
        """Tokens per second of ``count`` rows; None if memory runs out."""
        speeds = self._at(columns)
        if count not in speeds:
            step = self.seconds_per_step(row, count, columns)
            if step is None:
                return None
            speeds[count] = count / step
        return speeds[count]

    def _at(self, columns: int) -> dict[int, float]:
        return self.measured.setdefault(1 << (columns - 1).bit_length(), {})

    def fastest(self, row: DecodingRow, least: int, most: int, columns: int) -> int:
        """The number of rows, from ``least`` to ``most``, that decode fastest together.

        ``row`` is one of them, and ``columns`` are the tokens of the longest with its response.
        """
        speeds = self._at(columns)
        best = count = least
        spent = last = 0.0
        while True:
            if count not in speeds:
                if spent + 2 * last > SECONDS:
                    break
                started = time.perf_counter()
                if self.of(row, count, columns) is None:
                    break
                last = time.perf_counter() - started
                spent += last
            if speeds[count] > GAIN * speeds[best]:
                best = count
            if count == most or speeds[count] < FALL * speeds[best]:
                break
            count = min(2 * count, most)
        return best

    @torch.no_grad()
    def seconds_per_step(self, row: DecodingRow, count: int, columns: int) -> float | None:
        """Seconds of a decoding step with ``count`` rows like ``row``; None if memory runs out."""
        sampler = copy.copy(self.sampler)
        sampler.end_tokens = frozenset()  # no row ends
        stopping = Stopping(self.vlm, sampler, max_new_tokens=STEPS + 1)
        times: list[float] = []
        try:
            batch = DecodeBatch(self.vlm, stopping, count, columns, Stats())
            batch.fill(row, columns - STEPS)
            # Slow steps are not repeated: what disturbs them is small beside them.
            while len(times) < STEPS and sum(times) < SECONDS / 10 and batch.rows:
                started = time.perf_counter()
                batch.step()  # copies the tokens to the CPU, so it waits for the device
                times.append(time.perf_counter() - started)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return None
        return min(times)
