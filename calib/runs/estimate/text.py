"""A plan in words: one line for the start of a sweep, and the text of calib.plan."""

import math
import textwrap

from calib.runs.estimate.plan import Memory, Plan
from calib.util.progress import duration

WIDTH = 100
DEVICES = (8, 64)
"""Numbers of devices that the time is derived for."""


def plan_line(plan: Plan, saved: int = 0, devices: int = 1) -> str:
    """One line: rows, time and memory. ``saved`` rows need not be generated again."""
    parts = [f"{plan.rows:,} rows{' or more' if plan.grows else ''}"]
    parts[0] += f" ({', '.join(f'{s.split} {s.rows:,}' for s in plan.splits)})"
    if saved:
        parts.append(f"{saved:,} saved already")
    seconds = plan.seconds(devices)
    if seconds is not None:
        left = max(0.0, 1 - saved / max(1, plan.rows))
        busy = " (the machine is busy: maybe less)" if plan.is_busy else ""
        parts.append(f"{_time(seconds * left, plan)} to generate them{busy}")
    elif plan.memory is not None:
        parts.append("a short run")
    if plan.memory is not None:
        parts.append(f"about {_size(plan.memory.total)} of memory")
    return f"plan: {', '.join(parts)}"


def plan_text(plan: Plan, devices: int = 1) -> str:
    """The lines that calib.plan prints. ``devices`` is the number that the settings name."""
    lines = [*_splits(plan), "", *_tokens(plan)]
    if plan.memory is not None:
        lines += _memory(plan, plan.memory)
    lines += _times(plan, devices)
    return "\n".join(_wrapped(line) for line in lines)


def _wrapped(line: str) -> str:
    if len(line) <= WIDTH:
        return line
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * 17, break_on_hyphens=False)


def _splits(plan: Plan) -> list[str]:
    head = f"{'split':<12}{'examples':>10}{'settings':>10}{'rows, at most':>15}"
    lines = [head]
    for split in plan.splits:
        cells = f"{len(split.examples):>10,}{split.settings:>10,}{split.rows:>15,}"
        lines.append(f"{split.split:<12}{cells}")
    lines.append(f"{'all':<12}{'':>10}{'':>10}{plan.rows:>15,}")
    if any(split.split == "train" for split in plan.splits):
        lines.append("train: responses that a method is fitted on.")
    if names := [grid.method for grid in plan.grids if grid.steps]:
        lines.append(
            f"Each further step of {', '.join(names)} is one more row. How many there are "
            "depends on the responses."
        )
    return lines


def _tokens(plan: Plan) -> list[str]:
    shown = "unknown, since a remote model has its own tokens"
    if plan.prompt_tokens is not None:
        shown = f"{plan.prompt_tokens:,} at most, without demonstrations and earlier responses"
    lines = [f"prompt tokens    {shown}"]
    each = f"{plan.response_tokens:,} at most in a row (generation.max_new_tokens)"
    lines.append(f"response tokens  {each}, {plan.rows * plan.response_tokens:,} in all rows")
    if plan.memory is None:
        lines.append(f"requests         {plan.rows:,}, one for each row")
    return lines


def _memory(plan: Plan, memory: Memory) -> list[str]:
    parts = f"{_size(memory.weights)} of weights, {_size(memory.cache)} of keys and values"
    if memory.process:
        parts = (
            f"{_size(memory.process)} of this process with libraries and "
            f"{_size(memory.weights)} of weights, {_size(memory.cache)} of keys and values"
        )
    per_row = f"{_size(plan.cache_per_row)} for each row of the greatest length"
    return [
        f"memory           about {_size(memory.total)}: {parts} ({per_row}), "
        f"{_size(memory.reading)} for reading prompts",
    ]


def _times(plan: Plan, given: int) -> list[str]:
    if plan.rates is None:
        if plan.memory is None:
            return ["time             not measured: it depends on the server"]
        return []
    lines = []
    for pictured, rates in plan.rates.items():
        kind = "with pictures" if pictured else "without pictures"
        length = (
            f"{rates.response_tokens:.1f} tokens per response, mean of {rates.responses}"
            if rates.responses
            else f"{rates.response_tokens:.0f} tokens per response, the most it may have"
        )
        lines.append(
            f"measured         {kind}: {1000 * (rates.preparing + rates.reading):.1f} ms to read a "
            f"prompt of {rates.prompt_tokens:.0f} tokens; {rates.decoding:,.0f} tokens per second "
            f"with {rates.rows:,} rows together; {length}"
        )
    without = ", without loading the model, judging and figures"
    for number in (given, *sorted({1, *DEVICES} - {given})):
        seconds = plan.seconds(number)
        assert seconds is not None
        place = "this device" if number == 1 else f"{number} like it (derived, not measured)"
        head = "time" if number == given else ""
        lines.append(f"{head:<17}{_time(seconds, plan)} on {place}{without}")
        without = ""
    if plan.segments > 1:
        lines.append(
            f"segments         {plan.segments:,} at most in a split, so more than "
            f"{plan.segments:,} devices gain nothing. Devices divide them (devices=, shard=) and "
            "wait for each other before test; one fits the methods."
        )
    else:
        lines.append("segments         1 in each split, so further devices gain nothing.")
    return [*lines, *_limits(plan)]


def _limits(plan: Plan) -> list[str]:
    """What the times do not hold for."""
    lines = []
    if plan.is_upper_bound:
        lines.append(
            f"at most          if every response had {plan.response_tokens:,} tokens: generating "
            "some would have taken this probe too long, and most end earlier"
        )
    if plan.is_busy:
        longer = 1 / max(plan.computing, 0.01)
        lines.append(
            "busy             this machine is busy with other work: this process had "
            f"{100 * plan.computing:.0f} % of a core, so times may be {longer:.1f} "
            "times too long"
        )
    if plan.on_cpu:
        lines.append(
            "device           times are of this CPU: another kind of device needs a plan of its own"
        )
    return lines


def _time(seconds: float, plan: Plan) -> str:
    return f"{'at most' if plan.is_upper_bound else 'about'} {duration(seconds, rough=True)}"


def _size(count: int) -> str:
    """Bytes in two significant digits, at least megabytes."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if count >= unit:
            digits = max(0, 1 - math.floor(math.log10(count / unit)))
            return f"{count / unit:,.{digits}f} {name}"
    return f"{max(1, round(count / 1000)):,} kB"
