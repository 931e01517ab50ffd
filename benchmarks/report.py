"""Results of a benchmark: a table in the terminal, and the same table as CSV."""

import csv
import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import transformers

RESULTS = Path(__file__).parent / "results"

Line = Mapping[str, object]


def one_thread() -> None:
    """Use one thread, unless OMP_NUM_THREADS is set.

    The models are small, and threads that wait for each other count as CPU time.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def circumstances() -> dict[str, object]:
    """Date, versions, threads and load, which are saved with each result."""
    return {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def show(lines: Sequence[Line]) -> None:
    """Print lines with the same columns as a table."""
    columns = list(lines[0])
    cells = [columns, *([_text(line[column]) for column in columns] for line in lines)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(columns))]
    for row in cells:
        first = row[0].ljust(widths[0])
        print("  ".join([first, *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def save(
    name: str, lines: Sequence[Line], known: Mapping[str, object], folder: Path = RESULTS
) -> Path:
    """Write lines, each with its circumstances, to ``<folder>/<name>.csv``; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*lines[0], *known], lineterminator="\n")
        writer.writeheader()
        for line in lines:
            writer.writerow({key: _text(value) for key, value in {**line, **known}.items()})
    return path


def saved_lines(name: str, folder: Path = RESULTS) -> list[dict[str, str]]:
    """The lines of ``<folder>/<name>.csv``; none if it does not exist."""
    path = folder / f"{name}.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def update(
    name: str, lines: Sequence[Line], known: Mapping[str, object], folder: Path = RESULTS
) -> Path:
    """Replace lines of ``<folder>/<name>.csv`` that have the same first column; add the others."""
    saved = {next(iter(line.values())): line for line in saved_lines(name, folder)}
    for line in lines:
        saved[str(next(iter(line.values())))] = {k: _text(v) for k, v in {**line, **known}.items()}
    return save(name, list(saved.values()), {}, folder)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3f}" if isinstance(value, float) else str(value)
