"""The figure of the study: changes of SRA_u and SRA_s by method, a column for each model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from calib.report.figures.io import COLUMN_INCHES, figure_style, save
from calib.report.figures.style import BLUE, VERMILION

SHOWN = {"SRA_u": VERMILION, "SRA_s": BLUE}
ROW = 0.2
"""Height of a method, in inches."""


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw the lines of methods.csv of the runs of all methods, in points with 95% intervals."""
    runs = [run for run in dict.fromkeys(row["run"] for row in rows) if "/" not in run]
    names = [row["method"] for row in rows if row["run"] == runs[0]]
    with figure_style():
        size = (COLUMN_INCHES[2], ROW * len(names) + 0.9)
        figure = Figure(figsize=size, layout="compressed")
        columns = figure.subplots(1, len(runs), sharex=True, sharey=True, squeeze=False)[0]
        for axes, run in zip(columns, runs, strict=True):
            own = {row["method"]: row for row in rows if row["run"] == run}
            axes.axvline(0, color="black", linewidth=0.8)
            for shift, (rate, colour) in zip((-0.15, 0.15), SHOWN.items(), strict=True):
                axes.plot([], [], "o", color=colour, markersize=3, label=rate)
                for k, name in enumerate(names):
                    if name not in own:
                        continue
                    cells = [own[name][f"{rate}_change{end}"] for end in ("", "_low", "_high")]
                    if not all(cells):
                        continue
                    value, low, high = (100 * float(cell) for cell in cells)
                    axes.plot([low, high], [k + shift] * 2, color=colour, linewidth=1)
                    axes.plot(value, k + shift, "o", color=colour, markersize=3)
            axes.set_title(run)
        columns[0].set_yticks(range(len(names)), names)
        columns[0].invert_yaxis()
        columns[0].legend(loc="lower right")
        figure.supxlabel("change in points (95% interval by concept)", fontsize="medium")
        save(figure, path.with_suffix(""), ("png",))
