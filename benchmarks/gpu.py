"""The engine on a GPU: random weights in the shapes of InternVL3-1B and -8B, in bfloat16.

    python -m benchmarks.gpu

The time of decoding is the difference between responses of many tokens and of one token, so it does
not include prefill. In bfloat16 a row may get different tokens in a different batch: the share of
rows that agree with the naive loop is reported, not required.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import naive, report
from benchmarks.cases import QUERIES, Case, long_case
from benchmarks.internvl import Shape, random_internvl
from benchmarks.ours import Ours
from benchmarks.timing import Ready
from calib.models.load import VLM

VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "attention_bias": True,
}
# As in the configurations of OpenGVLab/InternVL3-1B-hf and -8B-hf.
SHAPES = {
    "1B": Shape(
        text={
            "vocab_size": 151674,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
        },
        vision=VISION,
        pixels=448,
        patch=14,
    ),
    "8B": Shape(
        text={
            "vocab_size": 151674,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        vision=VISION,
        pixels=448,
        patch=14,
    ),
}
SMOKE = Shape(
    text={
        "vocab_size": 2000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    vision={
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    pixels=32,
    patch=8,
)
RECORD = Path(__file__).parents[1] / "experiments" / "engine_gpu"
"""Folder of the saved measurements, with the name of the GPU."""
PROMPTS, SETTINGS, TOKENS, REPETITIONS = 16, 16, 128, 3


def main() -> None:
    """Print the tables and the ratios, and save them; without a GPU, print a note and stop."""
    smoke = "--smoke" in sys.argv[1:]  # the same steps on a CPU with a tiny model, nothing saved
    if not (smoke or torch.cuda.is_available()):
        print("no CUDA device: nothing measured")
        return
    if smoke:
        report.one_thread()
    device, dtype = ("cpu", torch.float32) if smoke else ("cuda", torch.bfloat16)
    known = report.circumstances() | {"device": device}
    if not smoke:
        known["device"] = torch.cuda.get_device_name()
    rate = bandwidth(device, 2**24 if smoke else 2**31)
    print(" ".join(f"{key}={value}" for key, value in known.items()), end="")
    print(f"; a copy on the device moves {rate / 1e9:.0f} GB/s\n")
    decoded, swept = [], []
    for name, shape in {"smoke": SMOKE}.items() if smoke else SHAPES.items():
        vlm = random_internvl(name, shape, QUERIES, dtype=dtype, device=device)
        decoded += decoding(vlm, rate)
        swept.append(sweep(vlm, device))
        del vlm
    report.show(decoded)
    print()
    report.show(swept)
    if not smoke:
        report.save("decode", decoded, known, RECORD)
        report.save("sweep", swept, known, RECORD)
        print(f"\nwritten to {RECORD.parent.name}/{RECORD.name}/decode.csv and sweep.csv")
    ratios = [f"{line['model']}={line['naive / ours']:.1f}" for line in swept]
    print("\nwhole sweep, naive / ours:", *ratios)


def decoding(vlm: VLM, rate: float) -> list[dict[str, Any]]:
    """Tokens per second of decoding: plain generate, and the engine with one and many settings."""
    case = _case(vlm, SETTINGS)
    one = dataclasses.replace(case, settings=case.settings[-1:])
    many = dataclasses.replace(case, settings=case.settings[1:])
    plain = dataclasses.replace(case, settings=[None])
    wide = dataclasses.replace(plain, examples=case.examples * SETTINGS)
    ways = [
        ("generate, no hooks", plain, _plain),
        (f"generate, no hooks, prompts x {SETTINGS}", wide, _plain),
        ("ours, 1 setting", one, _ours),
        (f"ours, {SETTINGS} settings", many, _ours),
    ]
    lines = []
    for name, way_case, ready in ways:
        short = dataclasses.replace(way_case, max_new_tokens=1)
        seconds = _seconds(ready(way_case)) - _seconds(ready(short))
        rows, steps = len(way_case.rows), way_case.max_new_tokens - 1
        read = _bytes_per_step(vlm, way_case)
        lines.append(
            {
                "model": vlm.name,
                "decoding": name,
                "rows": rows,
                "tokens / s": rows * steps / seconds,
                "ms / step": 1000 * seconds / steps,
                "of the bandwidth bound": read / rate / (seconds / steps),
            }
        )
    return lines


def sweep(vlm: VLM, device: str) -> dict[str, Any]:
    """Time and memory of all settings over all prompts, including image encoding and prefill."""
    case = dataclasses.replace(_case(vlm, SETTINGS), max_new_tokens=8 if device == "cpu" else 64)
    # The runs that measure memory also serve as warm-up.
    answers, wide = _peak(Ours(case).answer, case.rows, device)
    _, narrow = _peak(Ours(case, batch_rows=PROMPTS).answer, case.rows, device)
    expected, base = _peak(naive.answer, case, device)
    same = sum(a == b for a, b in zip(answers, expected, strict=True))
    ours, loop = _seconds(_ours(case), 0), _seconds(_plain(case), 0)
    return {
        "model": vlm.name,
        "rows": len(case.rows),
        "naive / ours": loop / ours,
        "naive, s": loop,
        "ours, s": ours,
        "peak memory, same rows in flight": narrow / base,
        "peak memory, default rows": wide / base,
        "rows that agree": same / len(case.rows),
    }


def _case(vlm: VLM, count: int) -> Case:
    strengths = [0.5 * k for k in range(1, count + 1)]
    case = long_case("all", vlm, copies=PROMPTS // len(QUERIES), strengths=strengths)
    return dataclasses.replace(case, max_new_tokens=8 if vlm.name == "smoke" else TOKENS)


def _plain(case: Case) -> Ready:
    return lambda: lambda: naive.answer(case)


def _ours(case: Case) -> Ready:
    ours = Ours(case)

    def ready() -> Callable[[], Any]:
        ours.forget()
        return lambda: ours.answer(case.rows)

    return ready


def _seconds(ready: Ready, warming_up: int = 1) -> float:
    """Median wall time of some repetitions, after the warm-up."""
    times = []
    for _ in range(warming_up + REPETITIONS):
        work = ready()
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warming_up:])


def _peak(work: Callable[[Any], Any], argument: Any, device: str) -> tuple[Any, float]:
    """The result of ``work`` and its peak memory in bytes, without the memory allocated before.

    1 byte if the device is not a GPU.
    """
    if device != "cuda":
        return work(argument), 1.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    answers = work(argument)
    return answers, torch.cuda.max_memory_allocated() - before


def bandwidth(device: str, size: int) -> float:
    """Bytes per second, read plus written, of a copy on the device."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        _wait()
        start = time.perf_counter()
        target.copy_(source)
        _wait()
        times.append(time.perf_counter() - start)
    return 2 * size / min(times)


def _bytes_per_step(vlm: VLM, case: Case) -> float:
    """Bytes that a decoding step must read, averaged over the steps.

    The weights of the decoder and the output head once, and the keys and values of all rows.
    """
    model, config = vlm.model, vlm.model.config.text_config
    weights = [*model.base_model.language_model.layers.parameters()]
    weights += model.get_output_embeddings().parameters()
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    prompts = naive.prepare(vlm, case.examples)["attention_mask"].sum()
    columns = float(prompts) * len(case.settings) + len(case.rows) * case.max_new_tokens / 2
    width = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    return size + columns * 2 * config.num_hidden_layers * width * model.dtype.itemsize


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
