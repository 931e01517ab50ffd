"""Chunks of prompts, and rows repeated for lack of memory, do not change responses."""

import pytest
from edited_rows import operators
from logit_ties import TIE, first_difference, gap
from vllm_worlds import opened

from calib.engine.edits import Edit
from calib.engine.request import Request

ROWS, TOKENS = 24, 24
"""Rows in flight, and tokens of a chunk of a prompt, of which each row in flight needs one."""
BLOCKS = 16
"""Blocks of 32 tokens for keys and values; the rows in flight need more."""


@pytest.fixture(scope="module")
def tight(tmp_path_factory, installed):
    """LLaVA with small chunks and little memory for keys and values."""
    with opened(
        "llava",
        tmp_path_factory.mktemp("tight"),
        rows_in_flight=ROWS,
        max_model_len=256,
        extra={
            "num_gpu_blocks_override": BLOCKS,
            "block_size": 32,
            "max_num_batched_tokens": TOKENS,
            "disable_log_stats": False,
        },
    ) as world:
        yield world


def metric(world, name):
    """A counter of vLLM."""
    return sum(m.value for m in world.backend.llm.get_metrics() if m.name == f"vllm:{name}")


def test_chunks_and_repeated_rows_do_not_change_tokens(tight):
    rows = tight.rows
    requests = [Request(example, edits) for example, edits in rows]
    ours, theirs = (engine.answer(requests) for engine in tight.engines(max_new_tokens=24))
    for (example, edits), one, other in zip(rows, ours, theirs, strict=True):
        if first_difference(one.tokens, other.tokens) is not None:
            assert gap(tight.vlm, example, edits, one.tokens, other.tokens) < TIE
        assert other.kl == pytest.approx(one.kl, rel=1e-3, abs=1e-5)
    assert metric(tight, "num_preemptions") > 0


def test_activations_are_read_in_chunks(tight):
    """Each prompt several times, so that more are in flight than the memory holds."""
    examples = [example for example in tight.examples for _ in range(4)]
    before = metric(tight, "num_preemptions")
    ours, theirs = (reader.read_activations(examples, "all") for reader in tight.readers())
    print(f"{metric(tight, 'num_preemptions') - before} rows were repeated")
    assert (theirs - ours).norm(dim=-1).max() < 1e-4 * ours.norm(dim=-1).min()


def test_prefixes_are_not_shared_between_rows(world):
    """A prefix that was read with edits must not serve a row without them."""
    example = world.examples[0]
    edits = (Edit(1, operators(world.vlm.width, 3, 3.0)[0], "all"),)
    _, engine = world.engines()
    (before,), (edited,), (after,) = (
        engine.answer([Request(example, applied)]) for applied in ((), edits, ())
    )
    assert before.tokens == after.tokens != edited.tokens
