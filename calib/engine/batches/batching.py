"""Order rows by prompt, and pack them into groups and forward passes that fit into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psutil
import torch

from calib.engine.request import Decoding, DecodingRow, Request
from calib.models.load import VLM
from calib.models.prompts import read_prompts

PASS_TOKENS = 16384
"""Maximum number of prompt tokens in a forward pass; enough to saturate any device."""
PADDING = 0.02
"""Maximum share of padding tokens in a prefill pass."""
CACHED_SHARE, PREFILL_SHARE = 0.6, 0.2
"""Shares of the memory budget for the KV cache of decoding rows and for prefill. The rest is for
rows that join: where they are copied into the cache, keys and values exist twice."""
SMALL_MODEL, LARGE_MODEL = 2**30, 2**35
"""Weights times rows of a batch on a CPU: more rows than 64 for models so small that the calls of a
step cost more than its arithmetic, fewer for models so large that a response takes minutes."""
CPU_ROWS = 16, 64
"""Fewest and most rows of a batch on a CPU, for models of neither kind."""
SLACK = 8
"""1/SLACK of a row's length is spare cache columns, so that the cache is rarely shifted."""


@dataclass(frozen=True)
class Capacity:
    """Batch sizes that fit into memory. They depend on the model, its device and the settings only,
    so that an interrupted run forms the same passes again."""

    rows: int
    """Rows whose prompts are read together."""
    tokens: int
    """Prompt tokens in a prefill pass, counted once per state."""


def columns_for(rows: Sequence[DecodingRow], max_new_tokens: int) -> int:
    """KV-cache columns for the longest of these rows, plus spare columns."""
    return columns_of(max(len(row.prompt.tokens) for row in rows) + max_new_tokens)


def columns_of(tokens: int) -> int:
    """KV-cache columns for a row with this number of tokens, plus spare columns."""
    return tokens + max(4, tokens // SLACK)


def capacity_for(vlm: VLM, decoding: Decoding, columns: int) -> Capacity:
    """Capacity for rows of ``columns`` tokens within the configured or default memory budget."""
    budget = decoding.memory if decoding.memory is not None else default_memory_budget(vlm)
    cached, passing = bytes_per_token(vlm)
    tokens = int(PREFILL_SHARE * budget / (cached + passing))
    rows = min(rows_within(vlm, decoding, columns), batch_rows(vlm, decoding))
    return Capacity(rows, max(1, min(tokens, PASS_TOKENS)))


def rows_within(vlm: VLM, decoding: Decoding, columns: int) -> int:
    """Number of rows of ``columns`` tokens whose keys and values fit into memory; at least 1."""
    budget = decoding.memory if decoding.memory is not None else default_memory_budget(vlm)
    rows = int(CACHED_SHARE * budget / (bytes_per_token(vlm)[0] * columns))
    return max(1, min(rows, decoding.batch_rows))


def batch_rows(vlm: VLM, decoding: Decoding) -> int:
    """Maximum number of rows in a batch, whatever their length and the speed of the machine.

    Prompts are read in such batches, and segments of a run are multiples of them. Rows that decode
    together may be more, see ``DecodingSpeed``.
    """
    if vlm.device.type != "cpu":
        return decoding.batch_rows
    weights = sum(parameter.numel() for parameter in vlm.model.parameters())
    fewest, most = CPU_ROWS
    rows = max(fewest, min(most, LARGE_MODEL // weights), SMALL_MODEL // weights)
    return min(decoding.batch_rows, rows)


def bytes_per_token(vlm: VLM) -> tuple[int, int]:
    """Bytes per token of the KV cache over all layers, and of the activations within a layer.

    In hybrid decoders, blocks without attention count too: their states also need memory.
    """
    config = vlm.model.config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    size = torch.finfo(vlm.model.dtype).bits // 8
    return 2 * vlm.num_layers * keys * width * size, (8 * config.hidden_size + 3 * inner) * size


def default_memory_budget(vlm: VLM) -> int:
    """Bytes for the engine: half of the machine's RAM, or 90% of the GPUs minus the weights.

    Depends on total rather than free memory, so that an interrupted run forms the same batches
    again.
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


def plan_rows(vlm: VLM, requests: Sequence[Request], decoding: Decoding) -> list[DecodingRow]:
    """The rows of requests, sorted by prompt length; unedited rows first within a prompt."""
    references = [r.reference for r in requests if r.reference is not None and decoding.kl]
    examples = {id(e): e for e in [*(request.example for request in requests), *references]}
    read = read_prompts(vlm, list(examples.values()))
    prompts = dict(zip(examples, read, strict=True))
    rows = []
    for index, request in enumerate(requests):
        prompt = prompts[id(request.example)]
        edits = request.edits
        if any(edit.positions == "image" for edit in edits) and not prompt.image_mask.any():
            # An edit of image tokens does nothing without an image; without it, the row shares the
            # computation of the unedited rows.
            edits = tuple(edit for edit in edits if edit.positions != "image")
        seed = request.seed + decoding.seed if decoding.temperature > 0 else None
        other = request.reference is not None and request.reference is not request.example
        reference = prompts[id(request.reference)] if decoding.kl and other else None
        rows.append(DecodingRow(index, prompt, edits, seed, request.is_final, reference))
    order = {id(prompt): k for k, prompt in enumerate(read)}
    return sorted(
        rows,
        key=lambda r: (len(r.prompt.tokens), order[id(r.prompt)], bool(r.edits), r.index),
    )


def group_rows(
    rows: Sequence[DecodingRow], capacity: Capacity, single_pass: bool
) -> Iterator[list[list[DecodingRow]]]:
    """Split rows into groups whose prompts are read together.

    A group is a list of passes, and a pass is a list of rows whose prompts have similar lengths.
    With ``single_pass`` a group has one pass.
    """
    while rows:
        count = group_size(rows, capacity, single_pass)
        group, rows = rows[:count], rows[count:]
        passes = []
        while group:
            count = pass_size(group)
            passes.append(list(group[:count]))
            group = group[count:]
        yield from ([rows_of_pass] for rows_of_pass in passes) if single_pass else [passes]


def group_size(rows: Sequence[DecodingRow], capacity: Capacity, single_pass: bool) -> int:
    """Number of leading rows that fit into one group; at least 1. Rows are sorted by prompt.

    A row needs memory of its own only if its edits begin before the last token of the prompt, or if
    the whole prompt is read in a ``single_pass``. The rows of a prompt stay together unless they
    alone exceed the capacity.
    """
    own = tokens = first_of_prompt = 0
    for count, row in enumerate(rows):
        if row.prompt is not rows[first_of_prompt].prompt:
            first_of_prompt = count
        separate = row.forks_before_last() or (single_pass and bool(row.edits))
        if separate or count == first_of_prompt:
            tokens += len(row.prompt.tokens)
        own += separate
        if count and (tokens > capacity.tokens or own > capacity.rows):
            return first_of_prompt or count
    return len(rows)


def pass_size(rows: Sequence[DecodingRow]) -> int:
    """Number of leading rows that fit into one pass with at most PADDING padding."""
    tokens = prompts = first_of_prompt = 0
    for count, row in enumerate(rows):
        if count == 0 or row.prompt is not rows[first_of_prompt].prompt:
            first_of_prompt = count
            prompts, tokens = prompts + 1, tokens + len(row.prompt.tokens)
            if len(row.prompt.tokens) * prompts > (1 + PADDING) * tokens:
                return count
    return len(rows)


def out_of_memory(error: Exception) -> bool:
    """Whether an error of torch reports a lack of memory."""
    # torch's CPU allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
