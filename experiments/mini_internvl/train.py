"""Train a mini model in four stages. Run an interrupted command again to resume it.

    python -m experiments.mini_internvl.train out=FOLDER [recipe=second] [device=cuda] [threads=2]
        [seed=0]

Every batch is a function of (seed, stage, step), so that a resumed run is identical to an
uninterrupted one. Checkpoints (weights, optimiser, step) are safetensors, written atomically.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from calib.data.mini.draw import SIZE
from experiments.mini_internvl.build import build_model, build_processor
from experiments.mini_internvl.curriculum import Curriculum
from experiments.mini_internvl.language import LanguageTask
from experiments.mini_internvl.recipe import RECIPES, Recipe, Stage
from experiments.mini_internvl.scenes import Gallery
from experiments.mini_internvl.vision import VisionBatches, VisionTask, classes, vision_loss

WARM_UP = 100  # steps
SAVE_EVERY = 250  # steps
LOG = "log.jsonl"


def main(out: Path, recipe: Recipe, device: str, threads: int, seed: int) -> None:
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
            loss = language_task.loss
        tower.requires_grad_(not stage.frozen)
        if not is_finished(out, number, stage):
            language_task.keep_features(model, recipe.scenes.all() if stage.frozen else [])
        run_stage(out, number, stage, task, draw, loss, seed)
    save_half(model, processor, out / recipe.name)


def checkpoint_path(out: Path, number: int, stage: Stage) -> Path:
    """The file with the weights of a stage."""
    return out / f"{number}_{stage.name}.safetensors"


def is_finished(out: Path, number: int, stage: Stage) -> bool:
    """Whether the last checkpoint of a stage is of its last step."""
    path = checkpoint_path(out, number, stage)
    return path.exists() and int(metadata(path)["step"]) >= stage.steps


def run_stage(
    out: Path,
    number: int,
    stage: Stage,
    task: nn.Module,
    draw: Callable[[np.random.Generator, int], list[Any]],
    loss: Callable[[Any, Any], tuple[torch.Tensor, dict[str, float]]],
    seed: int,
) -> None:
    """Train a stage, from its last checkpoint if one exists."""
    groups = parameter_groups(task, stage)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    path = checkpoint_path(out, number, stage)
    start = resume(path, task, optimizer)
    truncate_log(out / LOG, stage.name, start)
    task.train()
    begin, results = time.monotonic(), []
    for step in range(start, stage.steps):
        scale = schedule(step, stage.horizon or stage.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch in draw(np.random.default_rng([seed, number, step]), stage.rows):
            value, accuracy = loss(task, batch)
            weighted = value * batch.share
            weighted.backward()
            total += weighted.item()
            results.append(accuracy)
        results.append({"loss": total})
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if done % 50 == 0 or done == stage.steps:
            report(out, stage.name, done, results, (time.monotonic() - begin) / (done - start))
            results = []
        if done % SAVE_EVERY == 0 or done == stage.steps:
            save(path, task, optimizer, done)
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


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then cosine decay to 0.02."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, steps - WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def report(out: Path, stage: str, step: int, results: list[dict], seconds: float) -> None:
    """Print and log the means since the last report."""
    means = {
        k: float(np.mean([r[k] for r in results if k in r]))
        for k in {k for r in results for k in r}
    }
    line = {"stage": stage, "step": step, "seconds_per_step": round(seconds, 3)}
    line |= {name: round(value, 4) for name, value in sorted(means.items())}
    print(json.dumps(line), flush=True)
    with (out / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def truncate_log(log: Path, stage: str, step: int) -> None:
    """Delete log entries later than the checkpoint from which a stage resumes."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    valid = [
        line
        for line in lines
        if (entry := json.loads(line))["stage"] != stage or entry["step"] <= step
    ]
    if valid != lines:
        log.write_text("".join(valid), encoding="utf-8")


def save(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Weights, optimiser state and step in one safetensors file, replaced atomically."""
    tensors = {f"weights.{name}": p for name, p in task.named_parameters()}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entry.items()}
    partial = path.with_suffix(".partial")
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    save_file(copies, partial, metadata={"step": str(step)})
    partial.replace(path)


def resume(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint if one exists, and return the step from which to resume."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    weights = dict(task.named_parameters())
    states: dict[int, dict[str, torch.Tensor]] = {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            kind, rest = name.split(".", 1)
            if kind == "weights":
                weights[rest].copy_(tensor)
            else:
                index, key = rest.split(".")
                states.setdefault(int(index), {})[key] = tensor
    saved = optimizer.state_dict()
    optimizer.load_state_dict({"state": states, "param_groups": saved["param_groups"]})
    return int(metadata(path)["step"])


def metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size))["__metadata__"]


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


OPTIONS = ("out", "recipe", "device", "threads", "seed")


def arguments(words: list[str]) -> Iterator[tuple[str, str]]:
    """The key=value pairs of the command line."""
    for word in words:
        key, _, value = word.partition("=")
        if key not in OPTIONS or not value:
            sys.exit(f"unknown option '{word}': use {'=, '.join(OPTIONS)}=\n\n{__doc__}")
        yield key, value


if __name__ == "__main__":
    options = dict(arguments(sys.argv[1:]))
    if (name := options.get("recipe", "first")) not in RECIPES:
        sys.exit(f"recipe={name} does not exist: choose from {', '.join(RECIPES)}")
    main(
        out=Path(options.get("out", f"runs/{RECIPES[name].name}")),
        recipe=RECIPES[name],
        device=options.get("device", "cuda" if torch.cuda.is_available() else "cpu"),
        threads=int(options.get("threads", os.cpu_count() or 1)),
        seed=int(options.get("seed", "0")),
    )
