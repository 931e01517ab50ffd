"""Train a mini model in four stages. Run an interrupted command again to resume it.

    python -m experiments.mini_internvl.train out=FOLDER [recipe=second] [device=cuda] [threads=2]
        [seed=0]

Every batch is a function of (seed, stage, step), so that a resumed run is identical to an
uninterrupted one. Checkpoints (weights, optimiser, step) are safetensors, written atomically.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from calib.data.mini.draw import SIZE
from calib.util.errors import CalibError, first_line
from experiments import command
from experiments.mini_internvl.build import build_model, build_processor
from experiments.mini_internvl.curriculum import Curriculum
from experiments.mini_internvl.language import LanguageTask
from experiments.mini_internvl.recipe import RECIPES, Recipe, Stage
from experiments.mini_internvl.scenes import Gallery
from experiments.mini_internvl.vision import VisionBatches, VisionTask, classes, vision_loss
from experiments.training import Figures, Loss, is_finished, run_steps

SAVE_EVERY, REPORT_EVERY = 250, 50  # steps


def main(
    out: Path | None = None,
    recipe: str = "first",
    device: str | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> None:
    """Train the model of a recipe, with a GPU if there is one."""
    chosen = RECIPES[recipe]
    train(
        out or Path("runs") / chosen.name,
        chosen,
        device or ("cuda" if torch.cuda.is_available() else "cpu"),
        threads or os.cpu_count() or 1,
        seed,
    )


def train(out: Path, recipe: Recipe, device: str, threads: int, seed: int) -> None:
    """Run the unfinished stages, then write the checkpoint folder named after the recipe."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    processor = build_processor(recipe)
    model = build_model(processor, seed, recipe).to(device)
    gallery = Gallery(keep=recipe.jitters is not None)
    tower = model.model.vision_tower
    vision_task = VisionTask(tower, recipe.vision_width, classes(recipe)).to(device)
    language_task = LanguageTask(model, processor, gallery)
    curriculum = Curriculum(recipe)
    for number, stage in enumerate(recipe.stages):
        if stage.name == "vision":
            task: nn.Module = vision_task
            draw: Callable = VisionBatches(recipe, gallery)
            loss: Callable = vision_loss
        else:
            task = model
            draw = language_task.batch_maker(curriculum, stage.name, stage.groups)
            loss = functools.partial(language_task.loss, name_weight=stage.name_weight)
        tower.requires_grad_(not stage.frozen)
        if not is_finished(out, number, stage):
            language_task.keep_features(model, recipe.scenes.all() if stage.frozen else [])
        run_stage(out, number, stage, task, draw, loss, seed)
    save_half(model, processor, out / recipe.name)


def run_stage(
    out: Path,
    number: int,
    stage: Stage,
    task: nn.Module,
    draw: Callable[[np.random.Generator, int], list[Any]],
    loss: Loss,
    seed: int,
) -> None:
    """Train a stage, from its last checkpoint if one exists."""

    def backward(rng: np.random.Generator) -> list[Figures]:
        results, total = [], 0.0
        for batch in draw(rng, stage.rows):
            value, accuracy = loss(task, batch)
            weighted = value * batch.share
            weighted.backward()
            total += weighted.item()
            results.append(accuracy)
        return [*results, {"loss": total}]

    task.train()
    run_steps(
        out, number, stage, task, parameter_groups(task, stage), backward, seed,
        save_every=SAVE_EVERY, report_every=REPORT_EVERY,
    )  # fmt: skip
    task.eval()


def parameter_groups(task: nn.Module, stage: Stage) -> list[dict]:
    """Groups of the parameters that are not frozen: the vision tower has its own learning rate, and
    norms, biases and embeddings have no weight decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in task.named_parameters():
        if not parameter.requires_grad:
            continue
        vision = "tower" in name
        groups.setdefault((vision, parameter.ndim >= 2 and "embed" not in name), []).append(
            parameter
        )
    return [
        {
            "params": parameters,
            "peak": stage.vision_rate if vision else stage.rate,
            "weight_decay": stage.decay if decayed else 0.0,
        }
        for (vision, decayed), parameters in groups.items()
    ]


def save_half(model: nn.Module, processor, folder: Path) -> None:
    """Save the checkpoint in float16, loadable by AutoModelForImageTextToText."""
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    # With torchvision installed AutoProcessor requires a video processor, which is never used.
    settings = folder / "processor_config.json"
    config = json.loads(settings.read_text(encoding="utf-8"))
    config["video_processor"] = {
        "video_processor_type": "InternVLVideoProcessor",
        "size": {"height": SIZE, "width": SIZE},
    }
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    model.float()


def usable_device(name: str, given: str) -> str:
    """A device of torch, which this machine has; a reader of command.run."""
    try:
        torch.empty(0, device=given)
    except (RuntimeError, AssertionError) as error:  # the latter from a torch without CUDA
        raise CalibError("invalid-setting", f"{name}={given}: {first_line(error)}") from error
    return given


if __name__ == "__main__":
    command.run(
        main,
        __doc__,
        out=command.path,
        recipe=command.one_of(*RECIPES),
        device=usable_device,
        threads=command.whole(1),
        seed=command.whole(0),
    )
