"""The common look of figures: colours, markers, names, titles and legends."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.util.terminal import terminal_safe

# The palette of Okabe and Ito, distinguishable with the common forms of colour blindness.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
OLIVE = "#8A7A00"
"""Readable on white, unlike the palette's yellow."""
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
"""Colour, marker and line of the first, second ... direction; distinguishable in grey too."""
RATE_STYLES = {
    "SRA": (BLACK, "D", "-"),
    "SRA_u": (VERMILION, "o", "-"),
    "SRA_s": (BLUE, "s", "--"),
    "RR_h": (VERMILION, "o", "-"),
    "SCR": (ORANGE, "v", ":"),
    "DAR_b": (BLUE, "s", "--"),
    "utility": (GREEN, "^", "-."),
}
"""Colour, marker and line of each rate."""
OTHER_RATE_STYLE = (BLACK, "D", "-")
"""Colour, marker and line of a rate that RATE_STYLES lacks."""


def short_name(name: str, width: int) -> str:
    """Return ``name``, safe to show, with the middle cut out to fit ``width`` columns."""
    # Without the backslash matplotlib sets text between two dollars as mathematics. Without the
    # space it leaves names that start with an underscore out of the legend.
    shown = terminal_safe(name, width).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def write_title(figure: Figure, text: str, models: Sequence[str]) -> None:
    """Write ``text`` and below it the models, at a font size that fits the figure's width."""
    shown = short_name(", ".join(models), int(figure.get_figwidth() * 12))
    title = figure.suptitle(f"{text}\n{shown}", fontsize=9)
    room = 0.96 * figure.bbox.width / title.get_window_extent().width
    title.set_fontsize(9 * min(1, room))


def rows_of_panels(
    heights: Sequence[Sequence[float]], wide: bool, width: float, title: float, labels: float
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure and the axes of rows of one or two panels, from the panels' heights.

    If ``wide``, the panels of a row are side by side, else below each other. ``width`` is that of
    the figure, ``title`` the height of its title and ``labels`` the height of the labels of each
    line of panels; all in inches.
    """
    lines = [max(row) for row in heights] if wide else [h for row in heights for h in row]
    size = (width, title + sum(height + labels for height in lines))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(lines), 2 if wide else 1, squeeze=False, height_ratios=[h + 0.1 for h in lines]
    )
    if not wide:
        rest = iter(grid[:, 0])
        return figure, [[next(rest) for _ in row] for row in heights]
    for axes, row in zip(grid, heights, strict=True):
        for unused in axes[len(row) :]:
            unused.remove()
    return figure, [list(axes[: len(row)]) for axes, row in zip(grid, heights, strict=True)]


def draw_legend(
    figure: Figure, axes: Iterable[Axes], notes: Iterable[str] = (), beside: bool = False
) -> None:
    """Draw one legend for all ``axes``, headed by ``notes``, below the axes or ``beside`` them.

    Below the axes, the legend is as wide as the figure, which grows by the legend's height so that
    the axes keep their size. Beside them, it takes the free part of a figure over two columns.
    """
    entries: dict[str, Any] = {}
    for each in axes:
        for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    room = 72 * figure.get_figwidth() * (0.45 if beside else 1) - 14  # points
    text = " ".join(note for note in notes if note)
    few = beside and len(entries) <= 14
    legend = figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside right center" if beside else "outside lower center",
        ncols=1 if few else _columns([_width(figure, label) for label in entries], room),
        title="\n".join(textwrap.wrap(text, int(room / 3.8), break_on_hyphens=False)) or None,
        title_fontsize=7,
        alignment="left" if beside else "center",
        handlelength=2.6,
        columnspacing=1,
    )
    height = legend.get_window_extent().height / figure.dpi
    figure.set_figheight(
        max(figure.get_figheight(), height + 0.6) if beside else figure.get_figheight() + height
    )


def _columns(widths: Sequence[float], room: float) -> int:
    """Return the number of columns, at most 4, in which labels of these widths (points) fit."""
    for columns in (4, 3, 2):
        parts = [part for part in np.array_split(widths, columns) if part.size]
        if sum(part.max() + 34 for part in parts) <= room:  # handle and space between
            return columns
    return 1


def _width(figure: Figure, text: str) -> float:
    """Return the width of ``text`` in a legend, in points."""
    label = figure.text(0, 0, text, fontsize=7)
    width = label.get_window_extent().width * 72 / figure.dpi
    label.remove()
    return float(width)
