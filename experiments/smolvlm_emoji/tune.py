"""Train smolvlm_emoji's connector and its safety fine-tuning. Run it again to resume it.

    python -m experiments.smolvlm_emoji.tune run=FOLDER [threads=2] [seed=0]

connector: the second layer of the connector, through the frozen language model, so that it says
what a picture shows. guard: a low-rank update of the language model (LoRA) for the second variant.
Reads the names of things from FOLDER/names.txt of train.py, and writes
FOLDER/connector.safetensors and FOLDER/guard.safetensors for build.py. Pictures are given by the
names of what they show, so that no pass through the tower is needed.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from calib.util.errors import CalibError
from experiments.smolvlm_emoji.chats import GuardBatches, TalkBatches
from experiments.smolvlm_emoji.lora import attach, tensors
from experiments.smolvlm_emoji.own_answers import own_answers
from experiments.smolvlm_emoji.packing import Packer
from experiments.smolvlm_emoji.recipe import CONNECTOR, GUARD, STAGES, THINGS
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import text_model
from experiments.smolvlm_emoji.train import run_stage
from experiments.smolvlm_emoji.trained_parts import (
    CONNECTOR_FILE,
    GUARD_FILE,
    NAMES_FILE,
    read_names,
    save_parts,
)
from experiments.smolvlm_emoji.words import identity


def main(run: Path, threads: int, seed: int) -> None:
    """Train the connector, then the guard, or what is unfinished of them, and write them."""
    torch.set_num_threads(threads)
    names = read_names(run / NAMES_FILE)
    chosen = map(str, np.random.default_rng(seed).choice(names, THINGS, replace=False))
    language, tokenizer = text_model(default_cache())
    language.requires_grad_(False).eval()
    packer = Packer(language, tokenizer)
    own = own_answers(packer, list(chosen), run / f"own_answers_{seed}.json", seed)

    number = len(STAGES)
    packer.connector = identity(language.config.hidden_size)
    talk = TalkBatches(packer, own)
    run_stage(run, number, CONNECTOR, packer.connector, talk, packer, seed)
    save_parts(run / CONNECTOR_FILE, packer.connector.state_dict())

    packer.connector.requires_grad_(False)
    updates = attach(language.model, seed)
    run_stage(run, number + 1, GUARD, updates, GuardBatches(packer, own), packer, seed)
    save_parts(run / GUARD_FILE, tensors(updates))


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
