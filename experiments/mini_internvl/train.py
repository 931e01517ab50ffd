"""Train mini-internvl in four stages; stop it at any time and run it again to go on.

    python -m experiments.mini_internvl.train out=FOLDER [device=cuda] [threads=2] [seed=0]

Every batch is drawn from (seed, stage, step) alone, so a resumed run sees what an undisturbed one
would have seen. Checkpoints (weights, optimiser, step) are safetensors, written atomically.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from calib.data.mini.draw import SIZE
from experiments.mini_internvl.build import build_model, build_processor
from experiments.mini_internvl.language import LanguageTask
from experiments.mini_internvl.vision import VisionTask, vision_batch, vision_loss


@dataclass(frozen=True)
class Stage:
    """One stage of training."""

    name: str
    steps: int
    rows: int  # pictures per step
    rate: float
    vision_rate: float
    decay: float = 0.05
    horizon: int | None = None
    """Steps the learning rate is planned for, where the stage ends before it has decayed."""


STAGES = (
    # Ends early: the later stages go on teaching the tower, at their own rate.
    Stage("vision", steps=5000, rows=64, rate=1.5e-3, vision_rate=1.5e-3, horizon=9000),
    Stage("alignment", steps=500, rows=24, rate=1.5e-3, vision_rate=3e-4, decay=0.01),
    Stage("mixture", steps=2250, rows=24, rate=1.5e-3, vision_rate=3e-4, decay=0.01, horizon=4500),
    # The same lessons with more counting and reading, while the rate falls to nothing.
    Stage("polish", steps=1000, rows=24, rate=8e-4, vision_rate=3e-4, decay=0.01),
)
WARM_UP = 100  # steps
SAVE_EVERY = 250  # steps
LOG = "log.jsonl"


def main(out: Path, device: str, threads: int, seed: int) -> None:
    """Run the stages that are not finished, then write the checkpoint folder out/mini_internvl."""
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    processor = build_processor()
    model = build_model(processor, seed).to(device)
    sees = VisionTask(model.model.vision_tower, model.config.vision_config.hidden_size).to(device)
    speaks = LanguageTask(model, processor)
    for number, stage in enumerate(STAGES):
        if stage.name == "vision":
            task: nn.Module = sees
            draw: Callable = vision_batch
            loss: Callable = vision_loss
        else:
            task = model
            draw = speaks.batch_maker(stage.name)
            loss = speaks.loss
        run_stage(out, number, stage, task, draw, loss, seed)
    save_half(model, processor, out / "mini_internvl")


def run_stage(
    out: Path, number: int, stage: Stage, task: nn.Module, draw: Callable, loss: Callable, seed: int
) -> None:
    """Train one stage, from its last checkpoint if there is one."""
    groups = parameter_groups(task, stage)
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    path = out / f"{number}_{stage.name}.safetensors"
    start = resume(path, task, optimizer)
    forget_after(out / LOG, stage.name, start)
    task.train()
    began, seen = time.monotonic(), []
    for step in range(start, stage.steps):
        scale = schedule(step, stage.horizon or stage.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        batch = draw(np.random.default_rng([seed, number, step]), stage.rows)
        value, accuracy = loss(task, batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        seen.append({"loss": value.item(), **accuracy})
        done = step + 1
        if done % 50 == 0 or done == stage.steps:
            report(out, stage.name, done, seen, (time.monotonic() - began) / (done - start))
            seen = []
        if done % SAVE_EVERY == 0 or done == stage.steps:
            save(path, task, optimizer, done)
    task.eval()


def parameter_groups(task: nn.Module, stage: Stage) -> list[dict]:
    """The vision tower has its own rate; norms, biases and embeddings are not decayed."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in task.named_parameters():
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
    """Linear warm-up, then a cosine to a fiftieth."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    share = (step - WARM_UP) / max(1, steps - WARM_UP)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


def report(out: Path, stage: str, step: int, seen: list[dict], seconds: float) -> None:
    """Print and append the means since the last report."""
    means = {
        k: float(np.mean([s[k] for s in seen if k in s])) for k in {k for s in seen for k in s}
    }
    line = {"stage": stage, "step": step, "seconds_per_step": round(seconds, 3)}
    line |= {name: round(value, 4) for name, value in sorted(means.items())}
    print(json.dumps(line), flush=True)
    with (out / LOG).open("a") as log:
        log.write(json.dumps(line) + "\n")


def forget_after(log: Path, stage: str, step: int) -> None:
    """Drop what was logged after the checkpoint that a resumed stage goes on from."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    kept = [
        line
        for line in lines
        if (entry := json.loads(line))["stage"] != stage or entry["step"] <= step
    ]
    if kept != lines:
        log.write_text("".join(kept))


def save(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Weights, optimiser state and step in one safetensors file, replaced atomically."""
    tensors = {f"weights.{name}": p for name, p in task.named_parameters()}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entry.items()}
    partial = path.with_suffix(".partial")
    kept = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    save_file(kept, partial, metadata={"step": str(step)})
    partial.replace(path)


def resume(path: Path, task: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint if there is one; the step to go on from."""
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
    """The string table of a safetensors file."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size))["__metadata__"]


def save_half(model: nn.Module, processor, folder: Path) -> None:
    """The checkpoint that ships: float16 weights, loadable by AutoModelForImageTextToText."""
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    # Where torchvision is installed AutoProcessor wants a video half too; it is never used.
    settings = folder / "processor_config.json"
    config = json.loads(settings.read_text())
    config["video_processor"] = {
        "video_processor_type": "InternVLVideoProcessor",
        "size": {"height": SIZE, "width": SIZE},
    }
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    model.float()


def arguments(words: list[str]) -> Iterator[tuple[str, str]]:
    """key=value pairs of the command line."""
    for word in words:
        key, _, value = word.partition("=")
        if key not in ("out", "device", "threads", "seed") or not value:
            sys.exit(f"'{word}' is not one of out=, device=, threads=, seed=.\n\n{__doc__}")
        yield key, value


if __name__ == "__main__":
    given = dict(arguments(sys.argv[1:]))
    main(
        out=Path(given.get("out", "runs/mini_internvl")),
        device=given.get("device", "cuda" if torch.cuda.is_available() else "cpu"),
        threads=int(given.get("threads", os.cpu_count() or 1)),
        seed=int(given.get("seed", "0")),
    )
