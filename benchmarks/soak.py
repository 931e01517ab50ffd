"""A server under clients of which a third misbehave: what is lost, and its threads and memory.

    python -m benchmarks.soak                            # 10,000 requests twice
    python -m benchmarks.soak requests=500 at_once=64    # a short one

64 clients are connected at any moment, and 1,000 the second time. The last line has the counts:
nothing may be lost, and no thread may end. Memory must be flat after the first quarter of each
phase; results/soak.csv has all samples, and results/soak.png is their plot.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from benchmarks import report
from benchmarks.soak_clients import OUTCOMES, Client
from calib.serving.http.server import file_limit

CHECKOUT = Path(__file__).parents[1]
SERVER = ("model=internvl", "method=none", "port=0", "generation.max_new_tokens=8")
SAMPLE_SECONDS = 1.0


def main(*arguments: str) -> None:
    """Run the phases; write the samples and the plot."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    requests = int(settings.pop("requests", 10_000))
    at_once = [int(number) for number in settings.pop("at_once", "64,1000").split(",")]
    if settings:
        sys.exit(f"unknown settings: {', '.join(settings)}; there are requests and at_once")
    known = report.circumstances()
    file_limit()  # raised, so that a thousand clients can connect
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "calib.serve", *SERVER],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
        try:
            url = _url(process)
            phases = [
                asyncio.run(phase(url, process.pid, requests, number, seed))
                for seed, number in enumerate(at_once)
            ]
            health = _get(url, "health")
        finally:
            process.terminate()
            exit_code = process.wait(60)
        log.seek(0)
        logged = log.read()
    counts = sum((counts for counts, _ in phases), Counter[str]())
    samples = [sample for _, of_phase in phases for sample in of_phase]
    report.save("soak", samples, known)
    plot(samples, report.RESULTS / "soak.png")
    for number, (outcomes, of_phase) in zip(at_once, phases, strict=True):
        print(f"{number} at once: {dict(outcomes)}, {of_phase[-1]['seconds']:.0f} s")
    for line, count in Counter(logged.splitlines()).most_common(20):
        print(f"log of the server: {line} ({count} times)")
    dead = health["restarts"] + (health["status"] != "ok") + (exit_code != 0)
    threads = [sample["server_threads"] for sample in samples]
    growth = max(memory_growth(of_phase) for _, of_phase in phases)
    print(
        f"requests={requests * len(at_once)}",
        *(f"{outcome}={counts[outcome]}" for outcome in OUTCOMES),
        f"dead_threads={dead} threads={threads[0]}..{threads[-1]}",
        f"peak_mib={max(sample['mib'] for sample in samples):.0f} memory_growth={growth:.2f}",
    )


async def phase(
    url: str, pid: int, requests: int, at_once: int, seed: int
) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Outcomes of ``requests`` clients, ``at_once`` of them at any moment, and samples of the
    server."""
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    model = _get(url, "v1/models")["data"][0]["id"]
    counts: Counter[str] = Counter()
    samples: list[dict[str, Any]] = []
    numbers = iter(range(requests))
    start = time.monotonic()

    async def clients() -> None:
        for number in numbers:
            client = Client(host, int(port), model, random.Random(f"{seed} {number}"))
            counts[await client.run()] += 1

    async def sample() -> None:
        server = psutil.Process(pid)
        while True:
            samples.append(
                {
                    "at_once": at_once,
                    "seconds": time.monotonic() - start,
                    "done": counts.total(),
                    "mib": server.memory_info().rss / 2**20,
                    "server_threads": server.num_threads(),
                    "files": server.num_fds(),
                }
            )
            await asyncio.sleep(SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    await asyncio.gather(*(clients() for _ in range(at_once)))
    await asyncio.sleep(2 * SAMPLE_SECONDS)
    sampling.cancel()
    return counts, samples


def memory_growth(samples: list[dict[str, Any]]) -> float:
    """Median memory in the last quarter of the requests / that in the second quarter."""
    total = samples[-1]["done"]

    def median(first: float, last: float) -> float:
        chosen = [s["mib"] for s in samples if first * total <= s["done"] <= last * total]
        return statistics.median(chosen or [samples[-1]["mib"]])

    return median(0.75, 1) / median(0.25, 0.5)


def plot(samples: list[dict[str, Any]], path: Path) -> None:
    """Memory and threads over the requests that are done."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(6.9, 3.6), layout="constrained")
    done_before = 0
    for at_once in dict.fromkeys(sample["at_once"] for sample in samples):
        chosen = [sample for sample in samples if sample["at_once"] == at_once]
        x = [done_before + sample["done"] for sample in chosen]
        for axis, key in zip(axes, ("mib", "server_threads"), strict=True):
            axis.plot(x, [sample[key] for sample in chosen], label=f"{at_once:,} at once")
        done_before += chosen[-1]["done"]
    axes[0].set_ylabel("memory (MiB)")
    axes[1].set_ylabel("threads")
    axes[1].set_xlabel("requests done")
    for axis in axes:
        axis.set_ylim(bottom=0)
    axes[0].legend()
    figure.savefig(path, dpi=150)


def _url(process: Any) -> str:
    """The server's address, once it accepts requests."""
    for line in process.stdout:
        if line.startswith("serving"):
            url = line.split()[1].removesuffix("/v1")
            break
    else:
        sys.exit("the server did not start")
    while "Ctrl-C" not in process.stdout.readline():
        pass
    return url


def _get(url: str, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"{url}/{path}", timeout=60) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:  # a failing server says so with 503
        return json.load(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
