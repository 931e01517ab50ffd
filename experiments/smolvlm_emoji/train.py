"""Train the vision tower and the connector of smolvlm_emoji. Run it again to resume it.

    python -m experiments.smolvlm_emoji.train out=FOLDER [threads=2] [seed=0] [until=STAGE]
        [own=FILE.jsonl]

Four stages (recipe.py): alignment, tower and tokens onto the embedding matrix of the language
model, connector through the frozen language model. Every batch is a function of (seed, stage,
step), so that a resumed run is identical to an uninterrupted one. The result is
FOLDER/parts.safetensors, from which build.py makes the checkpoint. ``until`` stops after a stage;
``own`` is the file of own_answers.py.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calib.util.errors import CalibError
from experiments.smolvlm_emoji.alignment import Alignment, Parts, Pictures
from experiments.smolvlm_emoji.build import vision_language_model
from experiments.smolvlm_emoji.drawings import Drawings, load_drawings
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.own_answers import read_answers
from experiments.smolvlm_emoji.packing import Packer, QuestionBatches
from experiments.smolvlm_emoji.recipe import BRANCHES, STAGES, TRAINED_BLOCKS, Stage
from experiments.smolvlm_emoji.sentences import Speaker
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.text import text_model
from experiments.smolvlm_emoji.tower import downloaded_tower
from experiments.training import Figures, Loss, run_steps, write_tensors

REPORT_EVERY = 10  # steps


def main(out: Path, threads: int, seed: int, until: str | None, own: Path | None) -> None:
    """Run the unfinished stages, then write the trained parts."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    own_answers = read_answers(own) if own else {}
    cache = default_cache()
    drawings = load_drawings(cache)
    language, tokenizer = text_model(cache)
    language.requires_grad_(False).eval()
    parts = untrained_parts(language, tokenizer, cache, seed)
    for number, stage in enumerate(STAGES):
        parts.train_last_blocks(TRAINED_BLOCKS if stage.tower_rate else 0)
        draw, loss = stage_task(stage, parts, drawings, language, tokenizer, out, seed, own_answers)
        run_stage(out, number, stage, parts, draw, loss, seed)
        save_parts(out / "parts.safetensors", parts.state_dict())
        if stage.name == until:
            return


def untrained_parts(language: Any, tokenizer: Any, cache: Path, seed: int) -> Parts:
    """The tower with ImageNet weights, and a random connector."""
    torch.manual_seed(seed)
    connector = vision_language_model(language, tokenizer).model.multi_modal_projector
    return Parts(downloaded_tower(cache), connector)


def stage_task(
    stage: Stage,
    parts: Parts,
    drawings: Drawings,
    language: Any,
    tokenizer: Any,
    out: Path,
    seed: int,
    own: dict[str, list[tuple[str, str]]],
) -> tuple[Callable[[np.random.Generator, int], Any], Loss]:
    """How a stage draws a batch, and its loss; ``own`` as of Speaker."""
    views = stage.views
    grids = kept_grids(parts.tower, drawings, views, out / "grids", seed) if views else None
    pictures = Pictures(drawings, grids)
    if stage.name != "connector":
        embeddings = language.get_input_embeddings().weight.detach()
        ids = [tokenizer.encode(f" {name}", add_special_tokens=False) for name in pictures.names]
        return lambda rng, rows: pictures.draw(rng, rows)[1], Alignment(
            embeddings, ids, each_token=stage.name == "tokens"
        )
    packer = Packer(language, tokenizer)
    kinds = dict(zip(drawings.names, drawings.kinds, strict=True))
    speaker = Speaker(kinds, own)
    return QuestionBatches(pictures, speaker, packer, BRANCHES), packer


def run_stage(
    out: Path,
    number: int,
    stage: Stage,
    task: nn.Module,
    draw: Callable[[np.random.Generator, int], Any],
    loss: Loss,
    seed: int,
) -> None:
    """Train a stage, from its last checkpoint if one exists."""

    def backward(rng: np.random.Generator) -> list[Figures]:
        value, figures = loss(task, draw(rng, stage.rows))
        value.backward()
        return [{"loss": value.item(), **figures}]

    run_steps(
        out, number, stage, task, parameter_groups(task, stage), backward, seed,
        save_every=stage.save_every, report_every=REPORT_EVERY,
    )  # fmt: skip


def parameter_groups(task: nn.Module, stage: Stage) -> list[dict]:
    """Trained parameters with their learning rate; biases have no weight decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("tower"), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": stage.tower_rate if in_tower else stage.rate,
            "weight_decay": stage.decay if is_matrix else 0.0,
        }
        for (in_tower, is_matrix), parameters in groups.items()
    ]


def save_parts(path: Path, parts: Mapping[str, torch.Tensor]) -> None:
    """Write trained tensors in float16, as build.py reads them."""
    write_tensors(path, {name: tensor.half() for name, tensor in parts.items()})


if __name__ == "__main__":
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if unknown := options.keys() - {"out", "threads", "seed", "until", "own"}:
        sys.exit(f"unknown options: {', '.join(unknown)}\n\n{__doc__}")
    until, stages = options.get("until"), [stage.name for stage in STAGES]
    if until not in (None, *stages):
        sys.exit(f"until={until} is not a stage: choose from {', '.join(stages)}")
    try:
        main(
            out=Path(options.get("out", "runs/smolvlm_emoji")),
            threads=int(options.get("threads", os.cpu_count() or 1)),
            seed=int(options.get("seed", "0")),
            until=until,
            own=Path(options["own"]) if "own" in options else None,
        )
    except CalibError as error:
        sys.exit(str(error))
