"""The plan of a sweep: rows, tokens, memory and time, estimated before it starts."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from calib.config.sweep import SweepConfig
from calib.data.example import Example
from calib.engine.batches.batching import bytes_per_token, capacity_for, columns_of, out_of_memory
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.interventions.prompt_lengths import PromptLengths
from calib.models.load import VLM, AnyModel
from calib.models.tokens import token_count
from calib.runs.checks.context import worded_flows
from calib.runs.estimate.counts import Grid, SplitCount, fitting_reads, grids, split_counts
from calib.runs.estimate.probe import Rates, measure
from calib.runs.generate import PROMPTS, SEGMENT

BUSY = 0.6
"""Share of the probe's time that this process computes, below which the machine counts as busy."""
UNMEASURED = 2**37
"""Weights times response tokens of a sweep that is so short that a probe would not pay."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a sweep at its largest."""

    process: int
    """This process with its libraries and the weights, as measured; 0 on a GPU."""
    weights: int
    cache: int
    """Keys and values of the rows that decode together."""
    reading: int
    """Prompts that are being read, rows that join, and logits."""

    @property
    def total(self) -> int:
        return max(self.process, self.weights) + self.cache + self.reading


@dataclass(frozen=True)
class Plan:
    """What a sweep will do, as far as it is known before it starts. See ``grids`` on its limits."""

    splits: list[SplitCount]
    grids: list[Grid]
    prompt_tokens: int | None
    """Tokens of the longest prompt, with the texts that methods add, but without the demonstrations
    of few_shot and earlier responses; None of a remote model."""
    response_tokens: int
    """generation.max_new_tokens."""
    segment: int
    """Rows of a segment, at least, unless it has PROMPTS prompts before."""
    memory: Memory | None = None
    cache_per_row: int = 0
    """Bytes of keys and values of the longest row."""
    rates: dict[bool, Rates] | None = None
    """Measured speed of prompts with and without pictures; None where nothing was measured."""
    fitting: int = 0
    """Prompts that are read to fit the methods."""
    on_cpu: bool = False
    computing: float = 1.0
    """CPU time of this process as a share of the probe's time; 1 on a GPU, and where nothing was
    measured. With several threads it can exceed 1."""

    @property
    def rows(self) -> int:
        return sum(split.rows for split in self.splits)

    @property
    def grows(self) -> bool:
        """Whether rows may be added that depend on responses."""
        return any(grid.steps for grid in self.grids)

    @property
    def segments(self) -> int:
        """The segments of the split that has most of them, which several devices divide."""
        divided = [split for split in self.splits if split.split != "train"]
        return max(map(self._segments, divided), default=1)

    def _segments(self, split: SplitCount) -> int:
        prompts = math.ceil(len(split.examples) / PROMPTS)
        return max(math.ceil(split.rows / self.segment), prompts, 1)

    @property
    def is_busy(self) -> bool:
        """Whether other work took so much of the CPU that times are too long."""
        return self.computing < BUSY

    @property
    def is_upper_bound(self) -> bool:
        """Whether the time is for responses of the largest length, because generating some was too
        slow for a probe."""
        return self.rates is not None and not all(r.responses for r in self.rates.values())

    def seconds(self, devices: int = 1) -> float | None:
        """Estimated seconds of reading and generating on this many devices like this one.

        Devices divide the segments of a split, and wait for each other before test.
        """
        if self.rates is None:
            return None
        total = self._reading_seconds(self.fitting)
        for split in self.splits:
            segments = self._segments(split)
            divided = 1 if split.split == "train" else min(devices, segments)
            share = math.ceil(segments / divided) / segments
            total += share * self._split_seconds(split)
        return total

    def _split_seconds(self, split: SplitCount) -> float:
        assert self.rates is not None
        seconds = 0.0
        for pictured, rates in self.rates.items():
            count = sum(bool(example.pictures) == pictured for example in split.examples)
            seconds += count * (rates.preparing + split.prompt_reads * rates.reading)
            row = rates.starting + (rates.response_tokens - 1) / rates.decoding
            seconds += count * split.settings * row
        return seconds

    def _reading_seconds(self, prompts: int) -> float:
        """Seconds of reading prompts, of the kinds that the splits have."""
        assert self.rates is not None
        examples = [example for split in self.splits for example in split.examples]
        seconds = 0.0
        for pictured, rates in self.rates.items():
            share = sum(bool(e.pictures) == pictured for e in examples) / max(1, len(examples))
            seconds += prompts * share * (rates.preparing + rates.reading)
        return seconds


def plan_sweep(
    config: SweepConfig,
    model: AnyModel,
    benchmark: Sequence[Example],
    utility: Sequence[Example],
    engine: object = None,
    saved: int = 0,
    always: bool = False,
) -> Plan:
    """Plan a sweep and measure its speed; nothing is written.

    ``engine`` is that of the sweep, which keeps what is measured. With vLLM or a remote model, rows
    and tokens are counted only. A sweep with so little left, beyond its ``saved`` rows, that a
    probe would not pay is measured only if ``always``.
    """
    counted = grids(config, model)
    splits = split_counts(config, counted, benchmark, utility)
    examples = [example for split in splits for example in split.examples]
    length = config.generation.max_new_tokens
    assert length is not None, "the command's configuration sets it"
    if not isinstance(model, VLM):
        return Plan(splits, counted, None, length, 1)
    kinds = {
        pictured: kind
        for pictured in (False, True)
        if (kind := [example for example in examples if bool(example.pictures) == pictured])
    }
    longest = {pictured: _longest(config, model, kind) for pictured, kind in kinds.items()}
    most = max(token_count(model, example) for example in longest.values())
    if not isinstance(engine, Engine):
        return Plan(splits, counted, most, length, 1)
    decoding = engine.decoding
    segment = SEGMENT * engine.batch_rows
    process = psutil.Process().memory_info().rss
    rows = sum(split.rows for split in splits)
    weights = sum(parameter.numel() for parameter in model.model.parameters())
    rates, computing = None, 1.0
    on_cpu = model.model.device.type == "cpu"
    if always or weights * (rows - saved) * length >= UNMEASURED:
        in_segment = min(segment, max(split.rows for split in splits))
        started, computed = time.perf_counter(), time.process_time()
        try:
            rates = {k: measure(engine, kinds[k], longest[k], in_segment) for k in kinds}
        except RuntimeError as error:  # the run itself goes on with smaller batches
            if not out_of_memory(error):
                raise
        if on_cpu:
            wall = max(time.perf_counter() - started, 1e-9)
            computing = (time.process_time() - computed) / wall
    columns = columns_of(most + length)
    memory = _memory(model, decoding, splits, rates, columns, segment, process)
    per_row = columns * bytes_per_token(model)[0]
    fitting = fitting_reads(config, benchmark)
    return Plan(
        splits, counted, most, length, segment, memory, per_row, rates, fitting, on_cpu, computing
    )


def _longest(config: SweepConfig, vlm: VLM, examples: Sequence[Example]) -> Example:
    """An example as long as the longest prompt, with the longest text that a method adds to it."""
    lengths = PromptLengths(vlm)
    largest = lengths.largest(examples)
    prompts = [largest]
    for _, flow in worded_flows(config, vlm):
        prompt = flow.next(largest, ())
        assert isinstance(prompt, Example), "a prompt flow begins with a prompt"
        prompts.append(prompt)
    return max(prompts, key=lengths.bound)


def _memory(
    vlm: VLM,
    decoding: Decoding,
    splits: Sequence[SplitCount],
    rates: dict[bool, Rates] | None,
    columns: int,
    segment: int,
    process: int,
) -> Memory:
    cached, passing = bytes_per_token(vlm)
    capacity = capacity_for(vlm, decoding, columns)
    largest = max(splits, key=lambda split: split.rows)
    rows = min(largest.rows, segment)
    in_flight = max((r.rows for r in rates.values()), default=1) if rates else None
    in_flight = in_flight or min(capacity.rows, rows)
    # Prompts of a segment, each with the copies of its edited rows.
    prompts = min(PROMPTS, math.ceil(segment / largest.settings), len(largest.examples))
    tokens = min(capacity.tokens, int(prompts * largest.prompt_reads * columns))
    vocabulary = vlm.model.config.get_text_config(decoder=True).vocab_size
    joining = min(capacity.rows, max(capacity.rows // 4, 2048 // columns, 1), rows)
    reading = tokens * (cached + passing) + joining * columns * cached
    reading += 2 * 4 * vocabulary * max(in_flight, joining)
    weights = sum(p.numel() * p.element_size() for p in vlm.model.parameters())
    cache = in_flight * columns * cached
    return Memory(0 if vlm.device.type == "cuda" else process, weights, cache, reading)
