"""What the studies share: the models they take, a run of calib.sweep for each, and one results.csv.

Models that are not built, or lack their data, are named in results.csv with the reason.
"""

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calib.report.method_table import METHODS_FILE
from calib.report.verdict import Effect
from calib.runs.operating_points import OPERATING_POINTS_FILE
from calib.runs.run_files import RESULTS_FILE
from calib.scoring.results import ALL, BASELINE, COLUMNS
from calib.util.reading import file_bytes, parse_json
from experiments.all_methods.table import change
from experiments.smolvlm_emoji.pairs import PAIRS

ROOT = Path(__file__).resolve().parents[1]
RUNS = "runs/studies"
"""Default folder of the runs."""
DRAWINGS = Path("built") / "emoji_pairs"
"""Tables about drawings, for the models without a mini world."""
UNCALIBRATED = ("method=none", "utility=none", "report=false")
"""Settings of a study that only asks each model its queries."""
NOTE = "note"
"""Column of results.csv with the reason why a model or method has no result of its own."""
KEPT = "no setting was better on validation: the uncalibrated model was kept"


@dataclass(frozen=True)
class Model:
    """A model of a study."""

    name: str
    overrides: tuple[str, ...]
    """Settings of calib.sweep: the model, and its judge."""
    world: str = ""
    """The mini world that the model knows, as data= and utility= name it; empty for a model of
    drawings and real words."""
    missing: str = ""
    """Why the model cannot be run; empty if it can."""


def models() -> list[Model]:
    """mini-internvl and mini-internvl 2, smolvlm_emoji and its guard, in this order."""
    return [
        Model("mini-internvl", ("model=internvl",), "mini"),
        Model("mini-internvl-2", ("model=mini_internvl_2",), "mini2"),
        *(_emoji(name) for name in ("smolvlm_emoji", "smolvlm_emoji_guard")),
    ]


def _emoji(name: str) -> Model:
    unbuilt = "" if (ROOT / "built" / name).is_dir() else "not built (experiments/smolvlm_emoji)"
    return Model(name, (f"model={name}", "judge=string"), missing=unbuilt)


def needs_vscbench(folder: str) -> list[Model]:
    """The models of a study of VSCBench's own queries: without its folder those of real words are
    missing."""
    return _with_data(bool(folder), "needs VSCBench (vscbench=FOLDER)")


def needs_drawings(table: str = PAIRS) -> list[Model]:
    """The models of a study that asks those of drawings the queries of a table in DRAWINGS: without
    it these are missing."""
    build = "python -m experiments.smolvlm_emoji.pairs"
    return _with_data((ROOT / DRAWINGS / table).is_file(), f"needs pairs of drawings ({build})")


def _with_data(there: bool, reason: str) -> list[Model]:
    return [
        model if model.world or model.missing or there else replace(model, missing=reason)
        for model in models()
    ]


def drawings(table: str = PAIRS) -> tuple[str, ...]:
    """Queries of a table in DRAWINGS; responses of a model of real words end at 40 tokens."""
    # Relative to the folder that the runs start in, so that results name no folder of a machine.
    return (
        "data=pairs", f"data.file={(DRAWINGS / table).as_posix()}", "generation.max_new_tokens=40",
    )  # fmt: skip


def held_out_combinations(model: Model) -> str:
    """The setting that splits data for a study that fits and selects nothing, so that every concept
    may be reported: in the first mini world by combination, elsewhere by the data's default."""
    return f"data.split_by={'pair' if model.world == 'mini' else 'null'}"


def run_models(
    chosen: Sequence[Model],
    out: Path,
    settings: Callable[[Model], Sequence[str]],
    workers: int = 1,
) -> tuple[dict[str, Path], dict[str, str]]:
    """Run calib.sweep for each model, or resume it, with the model's own ``settings``, in a number
    of processes (``workers``).

    Returns the folders of the runs and the reasons of missing models, by name. Exits with the
    status of calib.sweep if that fails.
    """
    runs: dict[str, Path] = {}
    for model in chosen:
        if model.missing:
            continue
        runs[model.name] = out / model.name
        words = [*model.overrides, *settings(model), f"out={runs[model.name]}"]
        words += [f"workers={workers}"] if workers != 1 else []
        print(f"\n{model.name}: python -m calib.sweep {' '.join(words)}", flush=True)
        done = subprocess.run([sys.executable, "-m", "calib.sweep", *words], cwd=ROOT, check=False)
        if done.returncode:
            sys.exit(done.returncode)
    return runs, {model.name: model.missing for model in chosen if model.missing}


def plot(folders: Sequence[Path], figure: str, columns: int, target: Path) -> None:
    """Draw a figure of the runs with calib.plot, and copy it to ``target``."""
    runs = ",".join(f'"{folder}"' for folder in folders)
    drawn = folders[0].parent
    settings = [f"runs=[{runs}]", f"figures=[{figure}]", f"columns={columns}", "formats=[png]"]
    words = [*settings, f"out={drawn}"]
    subprocess.run([sys.executable, "-m", "calib.plot", *words], cwd=ROOT, check=True)
    shutil.copyfile(drawn / f"{figure}.png", target)


def write_results(
    path: Path, runs: Mapping[str, Path], missing: Mapping[str, str], metrics: Sequence[str]
) -> None:
    """Write results.csv: totals of the test split of each run, uncalibrated and at its operating
    points, and a line with n=0 and a note for each model in ``missing``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, (*COLUMNS, NOTE), lineterminator="\n")
        writer.writeheader()
        for name, folder in runs.items():
            writer.writerows({**row, "run": name} for row in _totals(folder, metrics))
        for name, reason in missing.items():
            writer.writerow(_without_result(name, BASELINE, reason))


def join_methods(path: Path, runs: Mapping[str, Path]) -> None:
    """Write methods.csv: that of each run of several methods, whose changes are paired by query."""
    rows = [
        {"run": name, **row}
        for name, folder in runs.items()
        if (folder / METHODS_FILE).is_file()
        for row in read(folder / METHODS_FILE)
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _totals(folder: Path, metrics: Sequence[str]) -> Iterator[dict[str, str]]:
    """Lines of a run's results.csv as they are, and a note for each method that kept the
    uncalibrated model."""
    points = parse_json(file_bytes(folder / OPERATING_POINTS_FILE))
    kept = [point["method"] for point in points if point["strength"] == 0]
    chosen = {(point["method"], point["layer"], float(point["strength"])) for point in points}
    model = ""
    for row in read(folder / RESULTS_FILE):
        layer = int(row["layer"]) if row["layer"] else None
        setting = (row["method"], layer, float(row["strength"]))
        total = row["split"] == "test" and row["category"] == ALL and row["metric"] in metrics
        if total and (row["method"] == BASELINE or setting in chosen):
            yield row
        model = row["model"]
    for method in kept:
        if method != BASELINE:
            yield {**_without_result(folder.name, method, KEPT), "model": model}


def _without_result(name: str, method: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(COLUMNS, "") | {
        "run": name, "model": name, "method": method, "strength": "0.0", "split": "test",
        "dataset": ALL, "variant": ALL, "category": ALL, "metric": "SRA", "n": "0", NOTE: reason,
    }  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    """The lines of a results.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def percent(row: Mapping[str, str] | None) -> str:
    """A rate or a difference of rates in percent, with its interval; "-" without one."""
    if row is None or not row["value"]:
        return "-"
    value, *bounds = (100 * float(row[key] or "nan") for key in ("value", "low", "high"))
    sign = "+" if row["metric"].startswith("change_") else ""
    low, high = (f"{bound:{sign}z.1f}" for bound in bounds)
    return f"{value:{sign}z.1f} ({low} to {high})"


def methods_table(path: Path, shown: Mapping[str, str]) -> str:
    """The runs of a results.csv, with their methods in the methods.csv beside it, in Markdown.

    ``shown`` maps the rates that have a column to the part of the data that each is of.
    """
    rows = read(path)
    uncalibrated = [row for row in rows if row["method"] == BASELINE]
    methods_file = path.with_name(METHODS_FILE)
    methods = read(methods_file) if methods_file.is_file() else []
    lines = []
    for run in dict.fromkeys(row["run"] for row in rows):
        own = {
            (r["dataset"], r["metric"]): r
            for r in uncalibrated
            if r["run"] == run and r["variant"] == ALL
        }
        rates = [percent(own.get((dataset, rate))) for rate, dataset in shown.items()]
        lines.append([run, own[ALL, "SRA"][NOTE] or "uncalibrated", "", *rates, ""])
        for row in (row for row in methods if row["run"] == run):
            layer = f"layer {row['layer']}, " if row["layer"] else ""
            kept = row["verdict"] == str(Effect.KEPT)
            setting = "uncalibrated kept" if kept else f"{layer}{float(row['strength']):g}"
            changes = [change(row, rate) for rate in shown]
            lines.append([run, row["method"], setting, *changes, row["p_holm"][:5]])
    return table(["model", "method", "strength", *shown, "p (Holm)"], lines)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
