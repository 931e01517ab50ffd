"""Train smolvlm_emoji's connector and its safety fine-tuning. Run it again to resume it.

    python -m experiments.smolvlm_emoji.tune run=FOLDER [threads=2] [seed=0]

connector: the second layer of the connector, through the frozen language model, so that it says
what a picture shows. guard: a low-rank update of the language model (LoRA) for the second variant.
Reads the names of things from FOLDER/names.txt of train.py, and writes
FOLDER/connector.safetensors and FOLDER/guard.safetensors for build.py. Pictures are given by the
names of what they show, so that no pass through the tower is needed.
"""

import os
from pathlib import Path

import numpy as np
import torch

from experiments import command
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


def main(run: Path, threads: int | None = None, seed: int = 0) -> None:
    """Train the connector, then the guard, or what is unfinished of them, and write them."""
    torch.set_num_threads(threads or os.cpu_count() or 1)
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
    command.run(main, __doc__, run=command.path, threads=command.whole(1), seed=command.whole(0))
