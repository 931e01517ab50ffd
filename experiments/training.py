"""Training of a stage: learning rate, log, checkpoints and resuming, shared by the experiments.

Every batch is a function of (seed, stage, step), so that a resumed run is identical to an
uninterrupted one. Checkpoints (weights, optimiser, step) are safetensors, written atomically.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

WARM_UP = 100  # steps
LOG = "log.jsonl"

Figures = dict[str, float]
"""Loss and accuracies of a batch, by name."""
Loss = Callable[[Any, Any], tuple[torch.Tensor, Figures]]
"""(task, batch) -> loss and figures."""


class Stage(Protocol):
    """What the loop reads of a stage."""

    name: str
    steps: int
    horizon: int | None
    """Length of the learning-rate schedule in steps, if it exceeds the length of the stage."""


def run_steps(
    out: Path,
    number: int,
    stage: Stage,
    task: nn.Module,
    groups: list[dict],
    backward: Callable[[np.random.Generator], list[Figures]],
    seed: int,
    *,
    save_every: int,
    report_every: int,
) -> None:
    """Train a stage, from its last checkpoint if one exists.

    ``groups`` are the optimiser's, each with its peak learning rate as "peak". ``backward`` draws
    the batches of a step, adds up their gradients and returns figures for the log.
    """
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    path = checkpoint_path(out, number, stage)
    start = resume(path, task, optimizer)
    truncate_log(out / LOG, stage.name, start)
    begin, results = time.monotonic(), []
    for step in range(start, stage.steps):
        scale = schedule(step, stage.horizon or stage.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        optimizer.zero_grad(set_to_none=True)
        results += backward(np.random.default_rng([seed, number, step]))
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        done = step + 1
        if done % report_every == 0 or done == stage.steps:
            report(out, stage.name, done, results, (time.monotonic() - begin) / (done - start))
            results = []
        if done % save_every == 0 or done == stage.steps:
            save(path, task, optimizer, done)


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: linear warm-up, then cosine decay to 0.02."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, steps - WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def report(out: Path, stage: str, step: int, results: list[Figures], seconds: float) -> None:
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


def checkpoint_path(out: Path, number: int, stage: Stage) -> Path:
    """The file with the weights of a stage."""
    return out / f"{number}_{stage.name}.safetensors"


def is_finished(out: Path, number: int, stage: Stage) -> bool:
    """Whether the last checkpoint of a stage is of its last step."""
    path = checkpoint_path(out, number, stage)
    return path.exists() and saved_step(path) >= stage.steps


def save(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Weights, optimiser state and step in one safetensors file."""
    tensors = {f"weights.{name}": p for name, p in task.named_parameters()}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entry.items()}
    write_tensors(path, tensors, {"step": str(step)})


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file, replaced atomically."""
    partial = path.with_suffix(".partial")
    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    save_file(copies, partial, metadata)
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
    return saved_step(path)


def saved_step(path: Path) -> int:
    """The step of a checkpoint."""
    with safe_open(path, "pt") as file:
        return int(file.metadata()["step"])
