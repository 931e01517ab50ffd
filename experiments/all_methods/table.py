"""The table of experiments/all_methods/README.md, as Markdown, from the methods.csv of one run for
each seed of the splits.

python -m experiments.all_methods.table METHODS.csv [METHODS_OF_ANOTHER_SEED.csv ...]
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from calib.report.verdict import Effect
from experiments import command

Row = Mapping[str, str]
COSTS = ("SRA_u", "SRA_s", "warned_s", "utility", "knowledge")
"""The rates whose changes stand beside that of SRA."""


def read(path: Path) -> dict[str, Row]:
    """The lines of a run's methods.csv by method, in the order of their ranks."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def change(row: Row, rate: str) -> str:
    """A change in points with its 95% interval, "-" where there is none."""
    cells = [row[f"{rate}_change{end}"] for end in ("", "_low", "_high")]
    if not all(cells):
        return "-"
    # Rates are multiples of a half or a quarter point: halves are rounded away from zero.
    value, low, high = (100 * float(c) + math.copysign(1e-6, float(c)) for c in cells)
    return f"{value:+z.1f} ({low:+z.1f} to {high:+z.1f})"


def line(row: Row, others: list[dict[str, Row]]) -> str:
    """One method: its setting, its change of each rate, its p, its rank, and the other seeds."""
    name = row["method"] + ("\\*" if row["prompt_only"] == "true" else "")
    kept = row["verdict"] == str(Effect.KEPT)
    setting = [] if kept else [row["layer"], f"{float(row['strength']):g}"]
    cells = [name, row["supervision"], *(setting or ["", "uncalibrated"])]
    cells += [change(row, rate) for rate in ("SRA", *COSTS)]
    cells += [row["p_holm"] and f"{float(row['p_holm']):.3f} ({float(row['p_unadjusted']):.3f})"]
    cells += [f"{row['rank']} ({row['rank_low']} to {row['rank_high']})" if row["rank"] else ""]
    unclear = f" ({', '.join(row['unclear'].split())})" if row["unclear"] else ""
    cells += [row["verdict"] + unclear]
    for other in others:
        again = other.get(row["method"])
        cells.append("" if again is None else change(again, "SRA"))
    return f"| {' | '.join(cells)} |"


def main(*paths: Path) -> None:
    """Print the table of the first run, with the changes of SRA in the others beside it."""
    first, *others = [read(path) for path in paths]
    columns = [
        "method", "labels in", "layer", "strength", "SRA", *COSTS, "p (Holm; unadjusted)", "rank",
        "verdict", *("SRA, other split" for _ in others),
    ]  # fmt: skip
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for row in first.values():
        print(line(row, others))
    row = next(iter(first.values()))
    print(f"\nn = {row['n']} queries in {row['clusters']} clusters.")


if __name__ == "__main__":
    command.run_on(main, __doc__, most=None)
