"""Order rows, and pack them into batches within a memory budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch

from calib.engine.request import Decoding, DecodingRow, Request
from calib.models.load import VLM
from calib.models.prompts import read_prompts

PASS_TOKENS = 16384
"""Prompt tokens read at once: enough to keep any device busy."""
PADDING = 0.02
"""Largest share of padding among the tokens read at once."""
CACHED_SHARE, READING_SHARE = 0.6, 0.2
"""Shares of the budget for keys and values in flight and for reading prompts; the rest is what
joining rows take twice for a moment."""
CPU_WEIGHTS = 2**30
"""Weights times rows at which a CPU has enough to do in one step."""
SLACK = 8
"""Columns are moved back once in this share of a row's length, at most."""


@dataclass(frozen=True)
class Room:
    """What fits at once."""

    slots: int
    """Rows in flight."""
    tokens: int
    """Prompt tokens by state in one pass."""


def columns_for(rows: Sequence[DecodingRow], max_new_tokens: int) -> int:
    """Columns that a row of any of these may need, and some to move in."""
    longest = max(len(row.prompt.tokens) for row in rows) + max_new_tokens
    return longest + max(4, longest // SLACK)


def room_for(vlm: VLM, decoding: Decoding, columns: int) -> Room:
    """What fits for rows of ``columns`` tokens, in the configured budget or in what is there."""
    budget = decoding.memory if decoding.memory is not None else measured(vlm)
    cached, passing = bytes_per_token(vlm)
    slots = int(CACHED_SHARE * budget / (cached * columns))
    tokens = int(READING_SHARE * budget / (cached + passing))
    slots = min(slots, rows_in_flight(vlm, decoding))
    return Room(max(1, slots), max(1, min(tokens, PASS_TOKENS)))


def rows_in_flight(vlm: VLM, decoding: Decoding) -> int:
    """Rows that may be in flight at once, whatever their length.

    A CPU is busy with few rows of a large model: more would only delay the first response.
    """
    if vlm.device.type != "cpu":
        return decoding.batch_rows
    weights = sum(parameter.numel() for parameter in vlm.model.parameters())
    return min(decoding.batch_rows, max(16, CPU_WEIGHTS // weights))


def bytes_per_token(vlm: VLM) -> tuple[int, int]:
    """Bytes of keys and values of one token, and of what passes through a layer for it."""
    config = vlm.model.config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    size = torch.finfo(vlm.model.dtype).bits // 8
    return 2 * vlm.num_layers * keys * width * size, (8 * config.hidden_size + 3 * inner) * size


def measured(vlm: VLM) -> int:
    """Half of the machine's memory, or what the weights leave of a GPU's.

    Not what happens to be free: an interrupted run is packed again as it was before.
    """
    if vlm.device.type != "cuda":
        return psutil.virtual_memory().total // 2
    devices = {parameter.device for parameter in vlm.model.parameters()}
    total = 0
    for device in devices:
        if device.type == "cuda":
            weights = sum(
                p.numel() * p.element_size() for p in vlm.model.parameters() if p.device == device
            )
            total += int(0.9 * torch.cuda.get_device_properties(device).total_memory) - weights
    return max(total, 1)


def next_group(rows: Sequence[DecodingRow], room: Room, whole: bool) -> int:
    """How many of ``rows``, a prompt's side by side, have their prompts read at once; at least 1.

    A row takes room of its own only where its edits begin before the last token of the prompt, or
    where prompts are read ``whole`` and everything is ready at once. A prompt's rows are not parted
    unless they alone are too many.
    """
    own = tokens = first_of_prompt = 0
    for count, row in enumerate(rows):
        if row.prompt is not rows[first_of_prompt].prompt:
            first_of_prompt = count
        apart = row.forks_before_last() or (whole and bool(row.edits))
        if apart or count == first_of_prompt:
            tokens += len(row.prompt.tokens)
        own += apart
        if count and (tokens > room.tokens or own > room.slots):
            return first_of_prompt or count
    return len(rows)


def next_pass(rows: Sequence[DecodingRow]) -> int:
    """How many of ``rows`` have prompts of so like a length that they pass the model together."""
    tokens = states = first_of_prompt = 0
    for count, row in enumerate(rows):
        if count == 0 or row.prompt is not rows[first_of_prompt].prompt:
            first_of_prompt = count
            states, tokens = states + 1, tokens + len(row.prompt.tokens)
            if len(row.prompt.tokens) * states > (1 + PADDING) * tokens:
                return count
    return len(rows)


def plan(vlm: VLM, asked: Sequence[Request], decoding: Decoding) -> list[DecodingRow]:
    """Rows by length of their prompts; of one prompt, the unedited rows come first."""
    bases = [one.base for one in asked if one.base is not None and decoding.kl]
    examples = {id(example): example for example in [*(one.example for one in asked), *bases]}
    read = read_prompts(vlm, list(examples.values()))
    prompts = dict(zip(examples, read, strict=True))
    rows = []
    for index, one in enumerate(asked):
        prompt = prompts[id(one.example)]
        edits = one.edits
        if any(edit.positions == "image" for edit in edits) and not prompt.image_mask.any():
            # At image tokens, where there are none: no edit, and a state with all unedited rows.
            edits = tuple(edit for edit in edits if edit.positions != "image")
        seed = one.seed + decoding.seed if decoding.temperature > 0 else None
        foreign = decoding.kl and one.base is not None and one.base is not one.example
        base = prompts[id(one.base)] if foreign else None
        rows.append(DecodingRow(index, prompt, edits, seed, one.is_final, base))
    order = {id(prompt): k for k, prompt in enumerate(read)}
    return sorted(
        rows,
        key=lambda r: (len(r.prompt.tokens), order[id(r.prompt)], bool(r.edits), r.index),
    )


def groups(
    rows: Sequence[DecodingRow], room: Room, whole: bool
) -> Iterator[list[list[DecodingRow]]]:
    """Rows in groups that are read at once, each in the parts that pass the model together."""
    while rows:
        count = next_group(rows, room, whole)
        group, rows = rows[:count], rows[count:]
        parts = []
        while group:
            count = next_pass(group)
            parts.append(list(group[:count]))
            group = group[count:]
        yield from ([part] for part in parts) if whole else [parts]
