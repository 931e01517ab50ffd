"""The table of docs/tutorial.md, as Markdown, from the results of the main job.

python -m experiments.steering_mini.table runs/NAME/results.csv
"""

from pathlib import Path

from calib.scoring.results import BASELINE, Result, read_results
from experiments import command

COLUMNS = {
    ("image_centric", "SRA_u"): "SRA_u, image-centric",
    ("image_centric", "SRA_s"): "SRA_s, image-centric",
    ("text_centric", "SRA_u"): "SRA_u, text-centric",
    ("text_centric", "SRA_s"): "SRA_s, text-centric",
    ("utility", "utility"): "utility",
    ("utility", "KL"): "KL, nats",
}


def main(path: Path) -> None:
    """Print the rates on the test split, one line per strength."""
    (run,) = read_results(path)
    cells = {
        (r.layer, r.strength, r.dataset, r.metric): r
        for r in run.results
        if r.split == "test"
        and r.variant == r.category == "all"
        and (r.layer is not None or r.method == BASELINE)  # not the prompt-only reference
    }
    layer = max(r.layer for r in run.results if r.split == "test" and r.layer is not None)
    settings = {(layer_, strength) for layer_, strength, *_ in cells if layer_ in (None, layer)}
    print(f"{run.model}, steering at layer {layer}, test split, 95% intervals\n")
    print("| strength | " + " | ".join(COLUMNS.values()) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for layer_, strength in sorted(settings, key=lambda setting: setting[1]):
        rates = [formatted(cells.get((layer_, strength, *column))) for column in COLUMNS]
        name = "0 (uncalibrated)" if layer_ is None else f"{strength:+g}"
        print(f"| {name} | {' | '.join(rates)} |")
    counts = {
        name: result.n
        for column, name in COLUMNS.items()
        if (result := cells.get((None, 0.0, *column))) is not None
    }
    print("\nn: " + ", ".join(f"{name} {n}" for name, n in counts.items()))


def formatted(result: Result | None) -> str:
    """A rate in percent with its interval; KL in nats."""
    if result is None:
        return ""
    if result.metric == "KL":
        return f"{result.value:.2f}"
    low, high = 100 * result.low, 100 * result.high
    return f"{100 * result.value:.0f}% ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    command.run_on(main, __doc__)
