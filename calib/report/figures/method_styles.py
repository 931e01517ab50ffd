"""The look of each method, the same in every figure and table: colour, marker, line and filling.

Styles belong to names, so that a method keeps its style whichever methods a run compares. Marker
and filling alone tell all methods apart, for readers who do not see the colours.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple
from zlib import crc32

from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from calib.report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    OLIVE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
)

Line = str | tuple[int, tuple[int, ...]]
"""A line of matplotlib: a name, or an offset with the lengths of dashes and gaps."""
Fill = Literal["full", "white", "left", "top", "bottom", "right"]


class MethodStyle(NamedTuple):
    """Colour, marker, line and filling of a method, as matplotlib names them."""

    colour: str
    marker: str
    line: Line
    fill: Fill
    """"full", "white" for methods that change only the prompt, or the half that is filled."""


PROMPT_LINE: Line = (0, (1, 2))
"""Line of methods that change only the prompt, whose strengths are not steps of one scale."""
STYLES = {
    "steer": MethodStyle(BLUE, "o", "-", "full"),
    "steer_pca": MethodStyle(SKY, "s", "--", "full"),
    "ablate": MethodStyle(VERMILION, "^", "-.", "full"),
    "surgical": MethodStyle(ORANGE, "v", ":", "full"),
    "combine": MethodStyle(BLACK, "D", "-", "full"),
    "conditional": MethodStyle(GREEN, "P", "-", "full"),
    "scans": MethodStyle(PURPLE, "X", "--", "full"),
    "refusal_control": MethodStyle(OLIVE, "p", "-.", "full"),
    "adaptive": MethodStyle(BLUE, "d", ":", "full"),
    "nullspace": MethodStyle(VERMILION, ">", "-", "full"),
    "iar_layer": MethodStyle(PURPLE, "<", "-", "full"),
    "iar_head": MethodStyle(SKY, "h", "-.", "full"),
    "shiftdc": MethodStyle(ORANGE, "s", "--", "left"),
    "astra": MethodStyle(GREEN, "o", "--", "left"),
    "cmrm": MethodStyle(BLACK, "^", "-.", "left"),
    "vlm_guard": MethodStyle(OLIVE, "v", "-", "left"),
    "vti": MethodStyle(PURPLE, "D", ":", "left"),
    "caution": MethodStyle(BLACK, "s", PROMPT_LINE, "white"),
    "reminder": MethodStyle(BLUE, "o", PROMPT_LINE, "white"),
    "few_shot": MethodStyle(VERMILION, "D", PROMPT_LINE, "white"),
    "cot": MethodStyle(GREEN, "^", PROMPT_LINE, "white"),
    "ecso": MethodStyle(PURPLE, "v", PROMPT_LINE, "white"),
    "self_check": MethodStyle(OLIVE, "P", PROMPT_LINE, "white"),
    "two_sided": MethodStyle(VERMILION, "X", ":", "left"),
}
"""Style by method. A new method is added at the end: a style that changed would make figures of
different dates contradict each other."""
_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, OLIVE, BLACK)
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "p", "h", "d", "<", ">")
_LINES: tuple[Line, ...] = ("-", "--", "-.", ":")
_FILLS: tuple[Fill, ...] = ("top", "bottom", "right")
_RUN_NUMBER = re.compile(r" \(\d+\)$")
"""The number of a run behind the name of a method that several runs have; see calib.report.joint.
"""
_GAP = 7
"""Distance of a marker of mark_methods from the axis, in points."""


def method_style(
    name: str, prompt_only: bool = False, taken: Collection[MethodStyle] = ()
) -> MethodStyle:
    """Return the style of a method.

    A method that STYLES lacks gets one by a hash of its name, without the number of its run. If a
    style of ``taken`` has the same marker and filling, as for the same method on another model, the
    colour stays and the next free marker and filling are used.
    """
    own = _RUN_NUMBER.sub("", name)
    style = STYLES.get(own) or _hashed(own)
    if prompt_only:
        style = style._replace(line=PROMPT_LINE, fill="white")
    looks = {(each.marker, each.fill) for each in taken}
    if (style.marker, style.fill) not in looks:
        return style
    fills: tuple[Fill, ...] = (style.fill, *_FILLS) if style.fill != "white" else ("white",)
    start = _MARKERS.index(style.marker)
    order = [_MARKERS[(start + k) % len(_MARKERS)] for k in range(len(_MARKERS))]
    free = ((m, fill) for fill in fills for m in order if (m, fill) not in looks)
    marker, fill = next(free, (style.marker, style.fill))
    return style._replace(marker=marker, fill=fill)


def _hashed(name: str) -> MethodStyle:
    number = crc32(name.encode(errors="surrogatepass"))
    colour, number = _COLOURS[number % len(_COLOURS)], number // len(_COLOURS)
    marker, number = _MARKERS[number % len(_MARKERS)], number // len(_MARKERS)
    return MethodStyle(colour, marker, _LINES[number % len(_LINES)], "top")


def marker_look(style: MethodStyle) -> dict[str, Any]:
    """Return the keyword arguments of matplotlib's ``plot`` for the colour and marker."""
    look: dict[str, Any] = {"color": style.colour, "marker": style.marker}
    if style.fill == "white":
        return look | {"markerfacecolor": "white"}
    return look | {"fillstyle": style.fill, "markerfacecoloralt": "white"}


def mark_methods(axes: Axes, rows: Mapping[float, MethodStyle]) -> None:
    """Draw the marker of each method between the y axis and the name of its row."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    left = ScaledTranslation(-_GAP / 72, 0, figure.dpi_scale_trans)
    place = blended_transform_factory(axes.transAxes, axes.transData) + left
    for row, style in rows.items():
        axes.plot([0], [row], **marker_look(style), linestyle="none", transform=place,
                  clip_on=False, zorder=5, label="_")  # fmt: skip
    axes.tick_params(axis="y", pad=2 * _GAP - 3)
