"""Train two low-rank updates of smolvlm_emoji's language model (LoRA). Run it again to resume it.

    python -m experiments.smolvlm_emoji.tune run=FOLDER [threads=2] [seed=0]

talk: to say what a picture shows, and to talk about it in whole sentences. guard: safety
fine-tuning, on top of talk, for the second variant. Reads the names of things from FOLDER/names.txt
of train.py, and writes FOLDER/talk.safetensors and FOLDER/guard.safetensors for build.py. Pictures
are given by the names of what they show, so that no pass through the tower is needed.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calib.util.errors import CalibError
from experiments.smolvlm_emoji.build import NAMES_FILE, UPDATE_FILES, read_names, read_parts
from experiments.smolvlm_emoji.chats import GuardBatches, TalkBatches
from experiments.smolvlm_emoji.lora import attach, merge, tensors
from experiments.smolvlm_emoji.own_answers import own_answers
from experiments.smolvlm_emoji.packing import Packer
from experiments.smolvlm_emoji.recipe import GUARD, STAGES, TALK, THINGS, Stage
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import text_model
from experiments.smolvlm_emoji.train import run_stage, save_parts


def main(run: Path, threads: int, seed: int) -> None:
    """Train both updates, or what is unfinished of them, and write them."""
    torch.set_num_threads(threads)
    names = read_names(run / NAMES_FILE)
    chosen = map(str, np.random.default_rng(seed).choice(names, THINGS, replace=False))
    language, tokenizer = frozen_text_model()
    own = own_answers(Packer(language, tokenizer), list(chosen), run / "own_answers.json", seed)
    packer = Packer(language, tokenizer)
    _train(run, len(STAGES), TALK, packer, TalkBatches(packer, own), seed)

    language, tokenizer = frozen_text_model()
    merge(language.model, read_parts(run / UPDATE_FILES[TALK.name]))
    packer = Packer(language, tokenizer)
    _train(run, len(STAGES) + 1, GUARD, packer, GuardBatches(packer, own), seed)


def frozen_text_model() -> tuple[Any, Any]:
    """The language model without gradients, and its tokenizer."""
    language, tokenizer = text_model(default_cache())
    return language.requires_grad_(False).eval(), tokenizer


def _train(run: Path, number: int, stage: Stage, packer: Packer, batches: Any, seed: int) -> None:
    updates = attach(packer.language.model, seed)
    run_stage(run, number, stage, updates, batches, packer, seed)
    save_parts(run / UPDATE_FILES[stage.name], tensors(updates))


if __name__ == "__main__":
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if options.keys() - {"run", "threads", "seed"} or "run" not in options:
        sys.exit(f"unknown or missing options\n\n{__doc__}")
    try:
        main(
            Path(options["run"]),
            int(options.get("threads", os.cpu_count() or 1)),
            int(options.get("seed", "0")),
        )
    except CalibError as error:
        sys.exit(str(error))
