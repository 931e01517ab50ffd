"""Prompt-based methods by hand: one plain prompt after the other, and what calib makes of them."""

import functools

from hydra import compose, initialize_config_dir
from naive_loop import naive
from omegaconf import OmegaConf

from calib.cli.command import CONF
from calib.config.schemas import register
from calib.engine.engine import Engine
from calib.engine.request import Decoding
from calib.runs.generate import answer
from calib.runs.planning import Planner
from calib.runs.row_store import RowStore

TOKENS = 16


@functools.cache
def configured(*overrides):
    """The method's configuration that a command line with these overrides gives."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return OmegaConf.to_object(compose("sweep", list(overrides))).method


def plain(vlm, example, edits=()):
    """What transformers' own generate answers to one prompt, and its first logits."""
    return naive(vlm, example, edits, TOKENS)


def spoken(vlm, answer):
    """An answer in words."""
    return vlm.processor.tokenizer.decode(answer.tokens, skip_special_tokens=True).strip()


def say(vlm, example, edits=()):
    """What transformers' own generate says to one prompt."""
    return spoken(vlm, plain(vlm, example, edits))


def planner_of(vlm, **decoding):
    return Planner(Engine(vlm, Decoding(**{"max_new_tokens": TOKENS, "batch_rows": 9} | decoding)))


def asked(vlm, examples, settings, folder):
    """The counting rows of examples under settings, each with its record, and all that was
    recorded."""
    planner = planner_of(vlm)
    with RowStore.open(folder / "rows.jsonl") as record:
        rows = answer(planner, planner.rows(examples, settings), record)
        return [(row, record.finished[row.id]) for row in rows], dict(record.finished)
