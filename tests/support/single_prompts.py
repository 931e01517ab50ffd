"""Prompt-based methods by hand: one plain prompt at a time, and the rows that calib records."""

import functools

from hydra import compose, initialize_config_dir
from naive_loop import naive
from omegaconf import OmegaConf

from calib.cli.command import CONF
from calib.config.schemas import register
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.runs.generate import generate
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore

TOKENS = 16


@functools.cache
def method_config(*overrides):
    """The method configuration for the command-line overrides."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return OmegaConf.to_object(compose("sweep", list(overrides))).method


def naive_response(vlm, example, edits=()):
    """Response of transformers' own ``generate`` to one prompt, with its first logits."""
    return naive(vlm, example, edits, TOKENS)


def response_text(vlm, response):
    """The decoded text of a response."""
    return vlm.processor.tokenizer.decode(response.tokens, skip_special_tokens=True).strip()


def naive_text(vlm, example, edits=()):
    """Text of the response of transformers' own ``generate`` to one prompt."""
    return response_text(vlm, naive_response(vlm, example, edits))


def planner_for(vlm, **decoding):
    """A planner with an engine of small batches."""
    return Planner(Engine(vlm, Decoding(**{"max_new_tokens": TOKENS, "batch_rows": 9} | decoding)))


def recorded_rows(vlm, examples, settings, folder):
    """Run settings over examples: the scored rows, each with its record, and all records."""
    planner = planner_for(vlm)
    with RowStore.open(folder / "rows.jsonl") as record:
        rows = generate(planner, planner.rows(examples, settings), record)
        return [(row, record.finished[row.id]) for row in rows], dict(record.finished)
