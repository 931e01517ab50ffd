"""The tables of docs/metrics.md, from the metrics in calib/scoring/metrics.

    python tests/support/metric_tables.py

writes them between their markers. A file of metrics without a marker gets a section of its own
before the section "Directions". tests/scoring/test_metrics.py fails if the page is out of date.
"""

import importlib
from pathlib import Path

from calib.scoring.metrics import DISPLAYS, Metric, metrics_by_file

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
_END = "<!-- end -->"


def marker(file: str) -> str:
    return f"<!-- metrics of calib/scoring/metrics/{file}.py -->"


def table(metrics: tuple[Metric, ...]) -> str:
    """One row per metric: name, definition, source of the formula, where it is shown."""
    lines = ["| metric | definition | source | shown in |", "|---|---|---|---|"]
    for metric in metrics:
        names = f"`{metric.name}`" + f", `paper_{metric.name}`" * metric.per_mapping
        shown = ", ".join(sorted(metric.shown_in))
        lines.append(f"| {names} | {metric.definition} | {metric.source} | {shown} |")
    return "\n".join(lines)


def section(file: str) -> str:
    """The empty section of a file that the page does not have yet."""
    text = importlib.import_module(f"calib.scoring.metrics.{file}").__doc__ or ""
    title = file.replace("_", " ").capitalize()
    return f"## {title}\n\n{text.strip()}\n\n{marker(file)}\n{_END}\n\n"


def updated(page: str) -> str:
    """``page`` with the tables of all metrics and the list of displays."""
    tables = {marker(file): table(metrics) for file, metrics in metrics_by_file().items()}
    for file in metrics_by_file():
        if marker(file) not in page:
            page = page.replace("## Directions\n", section(file) + "## Directions\n", 1)
    displays = "| shown in | is |\n|---|---|\n"
    tables["<!-- displays -->"] = displays + "\n".join(
        f"| {k} | {v} |" for k, v in DISPLAYS.items()
    )
    for start, text in tables.items():
        before, rest = page.split(start, 1)
        page = f"{before}{start}\n{text}\n{_END}{rest.split(_END, 1)[1]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
