"""Figure 1 of VSCBench (arXiv 2505.20362) on our models: both sides of SRA, uncalibrated.

    python -m experiments.vscbench_fig1.study [out=runs/studies]

The models are those of experiments/studies.py: the mini models get queries of their world, the
others pairs of drawings. Run an interrupted study again to resume it.
"""

from pathlib import Path

from experiments import command
from experiments.studies import (
    RUNS,
    UNCALIBRATED,
    Model,
    drawings,
    held_out_combinations,
    needs_drawings,
    percent,
    plot,
    read,
    run_models,
    table,
    write_results,
)

HERE = Path(__file__).parent
METRICS = ("SRA", "SRA_u", "SRA_s", "paper_SRA_s", "irrelevant", "warned_s")
PARTS = "data.parts=[image_centric,text_centric]"


def settings(model: Model) -> tuple[str, ...]:
    """Settings of calib.sweep for a model, besides its own."""
    if model.world:
        split = held_out_combinations(model)
        return *UNCALIBRATED, f"data={model.world}", "data.limit=400", PARTS, split
    return *UNCALIBRATED, *drawings(), "data.train=0", "data.validation=0.1"


def main(out: Path = Path(RUNS)) -> None:
    """Run every model that is there, and write results.csv, the figure and the table."""
    out = out.resolve() / "vscbench_fig1"
    runs, missing = run_models(needs_drawings(), out, settings)
    write_results(HERE / "results.csv", runs, missing, METRICS)
    plot(list(runs.values()), "sra_plane", 1, HERE / "figure.png")
    print(f"\n{markdown(HERE / 'results.csv')}")


def markdown(path: Path) -> str:
    """The table of the README from results.csv."""
    rows = read(path)
    lines = []
    for run, dataset in dict.fromkeys((row["run"], row["dataset"]) for row in rows):
        of = {
            r["metric"]: r
            for r in rows
            if (r["run"], r["dataset"], r["variant"]) == (run, dataset, "all")
        }
        note = of["SRA"]["note"]
        part = note or dataset.replace("_", "-")
        sides = [of[name]["n"] for name in ("SRA_u", "SRA_s") if name in of]
        counts = "" if note else f"{' + '.join(sides)} ({of['SRA']['clusters']})"
        rates = [percent(of.get(name)) for name in ("SRA", "SRA_u", "SRA_s", "warned_s")]
        lines.append([run, part, *rates, counts])
    head = ["model", "part", "SRA", "SRA_u", "SRA_s", "warned_s", "n unsafe + safe (concepts)"]
    return table(head, lines)


if __name__ == "__main__":
    command.run(main, __doc__, out=command.path)
