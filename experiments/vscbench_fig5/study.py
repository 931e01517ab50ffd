"""Figure 5 of VSCBench (arXiv 2505.20362) on our models: four methods, calibration and helpfulness.

    python -m experiments.vscbench_fig5.study [out=runs/studies] [port=8765]
        [remote="model=gemini model.model=ID data=vscbench data.root=FOLDER utility=mme ..."]

A column is a model: those of experiments/studies.py, and a remote one, which takes the two methods
that change the prompt. By default the remote model is mini-internvl behind calib.serve on this
machine; ``remote`` is the settings of calib.sweep for another. The mini models get queries of their
world, smolvlm_emoji and its guard pairs of drawings. Run an interrupted study again to resume it.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from calib.report.method_table import METHODS_FILE
from calib.scoring.results import ALL
from experiments import command
from experiments.smolvlm_emoji.pairs import NAMES
from experiments.studies import (
    DRAWINGS,
    ROOT,
    RUNS,
    Model,
    drawings,
    join_methods,
    methods_table,
    needs_drawings,
    plot,
    run_models,
    write_results,
)

HERE = Path(__file__).parent
METRICS = ("SRA", "SRA_u", "SRA_s", "paper_SRA", "warned_s", "utility", "knowledge")
PARTS = "data.parts=[image_centric,text_centric]"
SIZES = ("data.limit=80", "utility.limit=80")
SHOWN = {"SRA": ALL, "SRA_u": ALL, "SRA_s": ALL, "utility": "utility"}
"""Rates of the README's table, and the part of the data that each is of."""
METHODS = "experiment=vscbench_four"
STRENGTHS = "methods.iar_layer.strengths=[-2,-1,1,2]"
"""Of the seven default strengths, to save time."""
ON_DRAWINGS = (
    "methods.few_shot.strengths=[1,2]", "methods.iar_layer.layers=[15,25]",
    "methods.iar_head.strengths=[-5,5,10]", "data.limit=48",
    "utility=own", f"utility.root={(DRAWINGS / NAMES).as_posix()}", "utility.limit=48",
)  # fmt: skip
"""Fewer settings and queries for SmolLM2, which takes a quarter of a second for a response."""
PROMPTS = ("~methods.iar_layer", "~methods.iar_head")
"""Removes the methods that need activations."""
SERVED = "mini-internvl-uncalibrated"
WORDING = "Remember to be a responsible assistant."
"""The reminder that mini-internvl was trained with: a remote model has no texts of its own."""


def settings(model: Model) -> tuple[str, ...]:
    """Settings of calib.sweep for a model with weights, besides its own."""
    if model.world:
        return METHODS, STRENGTHS, *world_settings(model.world)
    return METHODS, STRENGTHS, *drawings(), *ON_DRAWINGS


def world_settings(world: str) -> tuple[str, ...]:
    """Queries and questions of a mini world."""
    return f"data={world}", f"utility={world}", PARTS, *SIZES


def remote_model(remote: str, port: int) -> Model:
    """The remote model: that of ``remote``, or mini-internvl behind calib.serve."""
    if remote:
        return Model("remote", (METHODS, *PROMPTS, *remote.split()))
    overrides = (
        "model=vllm", f"model.model={SERVED}",
        f"model.base_url=http://127.0.0.1:{port}/v1", "generation.max_new_tokens=32",
        "judge=rules", METHODS, *PROMPTS, f'methods.reminder.text="{WORDING}"',
        *world_settings("mini"),
    )  # fmt: skip
    return Model("remote", overrides)


@contextmanager
def server(port: int) -> Iterator[None]:
    """mini-internvl behind calib.serve, until the block ends; exits if it does not start."""
    words = [sys.executable, "-m", "calib.serve", "model=internvl", "method=none",
               f"name={SERVED}", f"port={port}"]  # fmt: skip
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    try:
        if not any("http://" in line for line in process.stdout):
            sys.exit("calib.serve did not start")
        # A full pipe would stop the server.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield
    finally:
        process.terminate()
        process.wait()


def main(out: Path = Path(RUNS), remote: str = "", port: int = 8765) -> None:
    """Run every model that is there, and write results.csv, the figure and the table."""
    out = out.resolve() / "vscbench_fig5"
    runs, missing = run_models(needs_drawings(NAMES), out, settings)
    with nullcontext() if remote else server(port):
        runs |= run_models([remote_model(remote, port)], out, lambda model: ())[0]
    write_results(HERE / "results.csv", runs, missing, METRICS)
    join_methods(HERE / METHODS_FILE, runs)
    plot(list(runs.values()), "vscbench_grid", 2, HERE / "figure.png")
    print(f"\n{markdown(HERE / 'results.csv')}")


def markdown(path: Path) -> str:
    """The table of the README from results.csv and the methods.csv beside it."""
    return methods_table(path, SHOWN)


if __name__ == "__main__":
    port = command.whole(1)
    command.run(main, __doc__, out=command.path, remote=command.text, port=port)
