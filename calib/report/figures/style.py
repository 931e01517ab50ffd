"""What all figures share: colours, markers, names, titles and legends."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from calib.report.terminal import printable

# Okabe & Ito's eight colours, told apart under the common forms of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
CURVE_STYLES = (
    (PURPLE, "D", "-"),
    (SKY, "P", "--"),
    (ORANGE, "v", "-."),
    (BLACK, "X", ":"),
    (BLUE, "o", (0, (5, 1))),
    (VERMILION, "s", (0, (3, 1, 1, 1))),
    (GREEN, "^", (0, (1, 1))),
    (YELLOW, "p", (0, (7, 2))),
)
"""Colour, marker and line of the first, second ... curve, told apart in grey too."""


def shown_name(name: str, width: int) -> str:
    """``name`` as it is, harmless, and cut in the middle to ``width`` columns."""
    # A backslash keeps matplotlib from reading what stands between two dollars as mathematics,
    # a space in front from leaving a name that starts with an underscore out of the legend.
    shown = printable(name, width).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def write_title(figure: Figure, text: str, models: Sequence[str]) -> None:
    """``text`` and below it the models, as large as fits the figure's width."""
    shown = shown_name(", ".join(models), int(figure.get_figwidth() * 11))
    title = figure.suptitle(f"{text}\n{shown}", fontsize=10)
    room = 0.96 * figure.bbox.width / title.get_window_extent().width
    title.set_fontsize(10 * min(1, room))


def draw_legend(figure: Figure, numbers: bool) -> None:
    """One legend below all axes; with ``numbers`` it explains those beside points."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    longest = max(map(len, entries)) * 4.7 + 45  # points, at font size 8, with the handle
    columns = min(3, max(1, int(72 * figure.get_figwidth() / longest)))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower center",
        ncols=columns,
        title="Numbers beside points are strengths; bars are 95% intervals." if numbers else None,
        title_fontsize=8,
    )
