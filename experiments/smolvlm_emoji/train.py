"""Train the vision tower of smolvlm_emoji. Run it again to resume it.

    python -m experiments.smolvlm_emoji.train [out=FOLDER] [threads=2] [seed=0] [until=STAGE]

Two stages (recipe.py), neither of which needs the language model. Every batch is a function of
(seed, stage, step), so that a resumed run is identical to an uninterrupted one. The result is
FOLDER/parts.safetensors with FOLDER/names.txt, from which build.py makes the checkpoint. ``until``
stops after a stage.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calib.models.towers.naming import NamingTower
from experiments import command
from experiments.smolvlm_emoji.drawings import Drawings, load_drawings
from experiments.smolvlm_emoji.features import kept_grids
from experiments.smolvlm_emoji.naming import (
    Pictures,
    naming_loss,
    tower_to_train,
    train_last_blocks,
)
from experiments.smolvlm_emoji.recipe import STAGES, Stage
from experiments.smolvlm_emoji.sources import default_cache
from experiments.smolvlm_emoji.tower import downloaded_tower
from experiments.smolvlm_emoji.trained_parts import NAMES_FILE, WEIGHTS_FILE, save_parts
from experiments.training import Figures, Loss, run_steps

REPORT_EVERY = 10  # steps


def main(
    out: Path = Path("runs/smolvlm_emoji"),
    threads: int | None = None,
    seed: int = 0,
    until: str | None = None,
) -> None:
    """Run the unfinished stages, then write the tower and its names."""
    torch.set_num_threads(threads or os.cpu_count() or 1)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    cache = default_cache()
    drawings = load_drawings(cache)
    names = drawings.known_names
    (out / NAMES_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    tower = tower_to_train(names)
    tower.network.load_state_dict(downloaded_tower(cache).state_dict())
    for number, stage in enumerate(STAGES):
        train_last_blocks(tower, stage.blocks)
        draw = stage_batches(stage, tower, drawings, out, seed)
        run_stage(out, number, stage, tower, draw, naming_loss, seed)
        save_parts(out / WEIGHTS_FILE, tower.state_dict(), names)
        if stage.name == until:
            return


def stage_batches(
    stage: Stage, tower: NamingTower, drawings: Drawings, out: Path, seed: int
) -> Callable[[np.random.Generator, int], Any]:
    """How a stage draws a batch: kept pictures, or new ones."""
    views = stage.views
    grids = kept_grids(tower.network, drawings, views, out / "grids", seed) if views else None
    pictures = Pictures(drawings, grids)
    return lambda rng, rows: pictures.draw(rng, rows)[1]


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
            groups.setdefault((name.startswith("network"), parameter.ndim > 1), []).append(
                parameter
            )
    return [
        {
            "params": parameters,
            "peak": stage.network_rate if in_network else stage.rate,
            "weight_decay": stage.decay if is_matrix else 0.0,
        }
        for (in_network, is_matrix), parameters in groups.items()
    ]


if __name__ == "__main__":
    command.run(
        main,
        __doc__,
        out=command.path,
        threads=command.whole(1),
        seed=command.whole(0),
        until=command.one_of(*(stage.name for stage in STAGES)),
    )
