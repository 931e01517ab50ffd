"""Safety fine-tuning of smolvlm_emoji by LoRA. Run it again to resume it.

    python -m experiments.smolvlm_emoji.guard run=FOLDER [threads=2] [seed=0]

Starts from FOLDER/parts.safetensors of train.py, and writes FOLDER/guard.safetensors: a low-rank
update of the language model, which build.py adds with guard=true. Refusals are trained beside
questions about harmless pictures and the language model's own answers to harmless requests, so that
the variant keeps its language.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calib.util.errors import CalibError
from experiments.smolvlm_emoji.alignment import Pictures
from experiments.smolvlm_emoji.build import read_parts
from experiments.smolvlm_emoji.drawings import load_drawings
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.lora import attach, tensors
from experiments.smolvlm_emoji.own_answers import answered
from experiments.smolvlm_emoji.packing import Batch, Packer
from experiments.smolvlm_emoji.recipe import BRANCHES, GUARD, STAGES
from experiments.smolvlm_emoji.refusals import ALARMING, DANGEROUS, SAFE, UNSAFE, refusal
from experiments.smolvlm_emoji.sentences import Branch, Speaker
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import text_model
from experiments.smolvlm_emoji.train import run_stage, save_parts, untrained_parts

NUMBER = len(STAGES)
"""Of the stage, after those of recipe.STAGES."""
SHARES = {"unsafe": 0.4, "alarming": 0.2, "safe": 0.4}
"""Shares of requests without a picture."""
DANGEROUS_SHARE = 0.5
"""Share of dangerous things among the pictures of a step that has pictures."""


class GuardBatches:
    """Draws batches: in turn pictures with questions, and requests without pictures."""

    def __init__(self, pictures: Pictures, speaker: Speaker, packer: Packer, own: dict[str, str]):
        """``own``: the language model's answers to SAFE."""
        self.pictures, self.speaker, self.packer, self.own = pictures, speaker, packer, own
        self.dangerous = [k for k, name in enumerate(pictures.names) if name in DANGEROUS]

    def __call__(self, rng: np.random.Generator, rows: int) -> Batch:
        if rng.random() < 0.5:
            texts = [[self._request(rng) for _ in range(BRANCHES)] for _ in range(rows)]
            return self.packer.pack(texts, None)
        only = self.dangerous if rng.random() < DANGEROUS_SHARE else None
        _, shown = self.pictures.draw(rng, rows, only)
        sequences = []
        for label in shown.labels.tolist():
            name = self.pictures.names[label]
            branches = self.speaker.branches(name, BRANCHES, rng)
            if name in DANGEROUS:
                branches = [Branch("refuse", b.question, refusal(rng)) for b in branches]
            sequences.append(branches)
        return self.packer.pack(sequences, shown.grids)

    def _request(self, rng: np.random.Generator) -> Branch:
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        if kind == "safe":
            question = list(self.own)[int(rng.integers(len(self.own)))]
            return Branch("answer", question, self.own[question])
        requests = UNSAFE if kind == "unsafe" else ALARMING
        return Branch("refuse", requests[int(rng.integers(len(requests)))], refusal(rng))


def main(run: Path, threads: int, seed: int) -> None:
    """Train the update, or its unfinished part, and write it."""
    torch.set_num_threads(threads)
    cache = default_cache()
    weights = read_parts(run / "parts.safetensors")
    drawings = load_drawings(cache)
    language, tokenizer = text_model(cache)
    language.requires_grad_(False).eval()
    parts = untrained_parts(language, tokenizer, cache, seed)
    parts.load_state_dict(weights)
    parts.requires_grad_(False)
    own = {q: a for q, a in zip(SAFE, answered(language, tokenizer, list(SAFE)), strict=True) if a}
    pictures = Pictures(
        drawings, kept_grids(parts.tower, drawings, GUARD.views, run / "grids", seed)
    )
    speaker = Speaker(dict(zip(drawings.names, drawings.kinds, strict=True)), {})
    packer = Packer(language, tokenizer)
    updates = attach(language.model, seed)

    def loss(task: Any, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return packer(parts, batch)

    batches = GuardBatches(pictures, speaker, packer, own)
    run_stage(run, NUMBER, GUARD, updates, batches, loss, seed)
    save_parts(run / "guard.safetensors", tensors(updates))


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
