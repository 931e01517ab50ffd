"""The plan of a sweep compared with the sweep: memory and time.

    python -m benchmarks.plan mini|1B

Linux, one thread. Time is CPU time, in the probe and in the sweep, so that other processes do not
count. Time of the sweep includes fitting, judging and scoring, and its memory is the highest
resident memory of this process. Nothing is kept.
"""

import sys
import tempfile
import time

time.perf_counter = time.process_time  # before calib imports it

from pathlib import Path  # noqa: E402

from hydra import compose, initialize_config_dir  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from benchmarks import report  # noqa: E402
from benchmarks.internvl import Shape, random_internvl  # noqa: E402
from calib.config.schemas import CONF, register  # noqa: E402
from calib.config.sweep import SweepConfig  # noqa: E402
from calib.data.benchmarks import load_benchmark, load_utility  # noqa: E402
from calib.models.load import VLM, load  # noqa: E402
from calib.runs.estimate.plan import plan_sweep  # noqa: E402
from calib.runs.estimate.text import plan_text  # noqa: E402
from calib.runs.row_store import RowStore  # noqa: E402
from calib.runs.sweep import Sweep  # noqa: E402

ONE_BILLION = Shape(
    text={
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
    },
    vision={
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
    },
    pixels=128,
    patch=8,
    extra={"vocab_size": 32000},
)
"""The shape of TinyLlama-1.1B in the shell of InternVL, with 64 image tokens."""
SETTINGS = {
    "mini": ["data.limit=100", "utility.limit=60"],
    "1B": ["data.limit=2", "utility.limit=2", "method.layers=[11]", "method.strengths=[1]",
           "method@reference=none", "generation.max_new_tokens=6"],
}  # fmt: skip
LIMITS = {"memory": 0.25, "time": 0.4}
"""Largest difference from the measured value, as a share of it."""


def main(name: str) -> None:
    """Plan and run a sweep, print both, and exit with 1 where a limit is exceeded."""
    report.one_thread()
    config = _config(SETTINGS[name])
    benchmark, utility = load_benchmark(config.data), load_utility(config.utility)
    model = load(config.model) if name == "mini" else _one_billion()
    with tempfile.TemporaryDirectory() as folder:
        with RowStore.open(Path(folder) / "rows.jsonl") as store:
            sweep = Sweep(config, model, benchmark, utility.examples, Path(folder), store)
            examples = benchmark.examples, utility.examples
            plan = plan_sweep(config, model, *examples, sweep.engine, always=True)
            print(plan_text(plan), flush=True)
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
            started = time.process_time()
            sweep.run({}, print)
            seconds = time.process_time() - started
        rows = len(store.finished)
    planned = {"memory": plan.memory.total / 1e6, "time": plan.seconds(), "rows": plan.rows}
    measured = {"memory": _peak() / 1e6, "time": seconds, "rows": rows}
    lines = [
        {"plan": key, "planned": float(planned[key]), "measured": float(measured[key]),
         "planned / measured": planned[key] / measured[key]}
        for key in planned
    ]  # fmt: skip
    report.show(lines)
    wrong = [k for k, limit in LIMITS.items() if abs(planned[k] / measured[k] - 1) > limit]
    sys.exit(f"outside of the limits: {', '.join(wrong)}" if wrong else 0)


def _config(settings: list[str]) -> SweepConfig:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = OmegaConf.to_object(compose("sweep", settings))
    assert isinstance(config, SweepConfig)
    return config


def _one_billion() -> VLM:
    return random_internvl("1B", ONE_BILLION, ["what is it?"])


def _peak() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(s.split()[1]) for s in status.splitlines() if s.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
