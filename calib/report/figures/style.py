"""What all figures share: colours, markers, names, titles and legends."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calib.util.terminal import terminal_safe

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
    shown = terminal_safe(name, width).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def write_title(figure: Figure, text: str, models: Sequence[str]) -> None:
    """``text`` and below it the models, as large as fits the figure's width."""
    shown = shown_name(", ".join(models), int(figure.get_figwidth() * 12))
    title = figure.suptitle(f"{text}\n{shown}", fontsize=9)
    room = 0.96 * figure.bbox.width / title.get_window_extent().width
    title.set_fontsize(9 * min(1, room))


def draw_legend(
    figure: Figure, axes: Iterable[Axes], notes: Iterable[str] = (), beside: bool = False
) -> None:
    """One legend of what is on ``axes``, under ``notes``: below all axes or ``beside`` them.

    The figure grows by its height, so that the axes keep what they were given. Below them it is
    as wide as the figure; beside them it takes what is left of a figure over two columns.
    """
    entries: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
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
    """In how many columns labels of these widths fit, in points; at most 4."""
    for columns in (4, 3, 2):
        parts = [part for part in np.array_split(widths, columns) if part.size]
        if sum(part.max() + 34 for part in parts) <= room:  # handle and space between
            return columns
    return 1


def _width(figure: Figure, text: str) -> float:
    """Of ``text`` in a legend, in points."""
    shown = figure.text(0, 0, text, fontsize=7)
    width = shown.get_window_extent().width * 72 / figure.dpi
    shown.remove()
    return float(width)
