"""Table 2 of DUAL-Bench (arXiv 2510.10846) on our models: uncalibrated, and under perturbations.

    python -m experiments.dualbench_table2.study [out=runs/studies]

The models are those of experiments/studies.py: the mini models describe drawings and rendered words
of their world, the others drawings of things, without the perturbations of written words. Run an
interrupted study again to resume it.
"""

from pathlib import Path

from calib.config.choices import PERTURBATIONS
from calib.report.terminal_tables import DUAL_USE_METRICS
from experiments import command
from experiments.smolvlm_emoji.dual_use import TABLE
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
METRICS = (*DUAL_USE_METRICS, *(f"change_{metric}" for metric in DUAL_USE_METRICS))


def settings(model: Model) -> tuple[str, ...]:
    """Settings of calib.sweep for a model, besides its own."""
    if model.world:
        data = (f"data={model.world}", "data.parts=[dual_use]", "data.limit=900")
        return *UNCALIBRATED, *data, held_out_combinations(model)
    return *UNCALIBRATED, *drawings(TABLE), "data.train=0", "data.validation=0.1"


def main(out: Path = Path(RUNS)) -> None:
    """Run every model that is there, and write results.csv, the figure and the tables."""
    out = out.resolve() / "dualbench_table2"
    runs, missing = run_models(needs_drawings(TABLE), out, settings)
    write_results(HERE / "results.csv", runs, missing, METRICS)
    plot(list(runs.values()), "perturbations", 2, HERE / "figure.png")
    print(f"\n{markdown(HERE / 'results.csv')}")


def markdown(path: Path) -> str:
    """The tables of the README from results.csv: rates on original pictures, then changes."""
    rows = read(path)
    cells = {(r["run"], r["variant"], r["metric"]): r for r in rows if r["dataset"] == "dual_use"}
    notes = {row["run"]: row["note"] for row in rows}
    rates, changes = [], []
    for run, note in notes.items():
        if note:
            rates.append([run, note, *("" for _ in DUAL_USE_METRICS)])
            continue
        shown = [cells.get((run, "original", metric)) for metric in DUAL_USE_METRICS]
        count = shown[0] and f"{shown[0]['n']} ({shown[0]['clusters']})"
        rates.append([run, count or "", *map(percent, shown)])
        for variant in PERTURBATIONS:
            shown = [cells.get((run, variant, f"change_{metric}")) for metric in DUAL_USE_METRICS]
            if any(shown):
                changes.append([run, variant.replace("_", " "), *map(percent, shown)])
    head = [*DUAL_USE_METRICS]
    return "\n\n".join(
        (table(["model", "n (concepts)", *head], rates), table(["model", "change", *head], changes))
    )


if __name__ == "__main__":
    command.run(main, __doc__, out=command.path)
