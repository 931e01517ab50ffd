"""Figures as part of a page: what matplotlib writes, read as XML and rebuilt from what is known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from calib.report.figures.gallery import FIGURES
from calib.report.figures.io import Draw, NotDrawn, svg_of
from calib.report.page.markup import Html, joined, tag
from calib.runs.run import Run
from calib.util.errors import CalibError

CAPTIONS = {
    "trade_off": (
        "SRA_u, SRA_s and utility against strength",
        "What each strength does: unsafe queries handled safely, safe queries answered, and "
        "utility. Where two curves cross over, refusals are moved from one side to the other.",
    ),
    "calibration_against_utility": (
        "Calibration against utility",
        "Each point is a setting. Up is better calibrated, right is more helpful; the "
        "uncalibrated model and the prompt-only methods are the bar to beat.",
    ),
    "methods": (
        "Methods side by side",
        "Each method at the setting it chose on validation.",
    ),
    "sra_plane": (
        "Both sides of calibration",
        "SRA_s against SRA_u. The upper right corner is a model that refuses what it should and "
        "nothing else.",
    ),
    "vscbench_grid": ("Calibration and helpfulness by part of the benchmark", ""),
    "heat_map": ("Strength and layer", "What each layer does at each strength, on validation."),
    "layers": ("Layers", "How well each layer tells the classes apart, and what steering does."),
    "categories": ("Categories", "SRA by category, before and after."),
    "perturbations": ("Perturbations", "What changing the picture changes in the answers."),
    "projections": (
        "Projections on the direction", "Where safe and unsafe queries lie along the direction."
    ),
}  # fmt: skip
FIRST = ("methods", "trade_off", "calibration_against_utility", "sra_plane")
"""Shown open where they can be drawn, the first two of them; the others are folded away."""

_ELEMENTS = frozenset(
    ("svg", "g", "defs", "path", "use", "clipPath", "rect", "text", "tspan", "image", "pattern",
     "polygon", "polyline", "line", "circle", "ellipse", "linearGradient", "stop")
)  # fmt: skip
_DROPPED = frozenset({"metadata", "style"})
"""What has no place in a page: the style would apply to all of it, the stylesheet has it anyway."""
_INSIDE = re.compile(r"url\(#([^()\"']+)\)")


@dataclass(frozen=True)
class Drawing:
    """A figure of the page."""

    name: str
    title: str
    markup: Html


def drawings(runs: Sequence[Run]) -> list[Drawing]:
    """Every figure that these runs hold, the most important first."""
    order = sorted(FIGURES, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    found = [_drawing(name, FIGURES[name], runs) for name in order]
    return [one for one in found if one is not None]


def _drawing(name: str, draw: Draw, runs: Sequence[Run]) -> Drawing | None:
    try:
        svg = svg_of(draw(runs, 2))
    except NotDrawn:
        return None
    title, says = CAPTIONS.get(name, (name.replace("_", " ").capitalize(), ""))
    picture = inline(svg, f"figure-{name}-", f"{title}. {says}".strip())
    caption = tag("figcaption", tag("strong", f"{title}."), " ", says)
    return Drawing(name, title, tag("figure", tag("div", picture, class_="plate"), caption))


def inline(svg: str, prefix: str, label: str) -> Html:
    """An SVG as one picture of a page: its ids begin with ``prefix``, its accessible name is
    ``label``.

    Raises CalibError when it holds anything but drawing.
    """
    root = ElementTree.fromstring(svg)
    children = [_rebuilt(child, prefix) for child in root]
    return tag("svg", *children, role="img", aria_label=label, viewBox=root.get("viewBox"))


def _rebuilt(element: ElementTree.Element, prefix: str) -> Html:
    name = _local(element.tag)
    if name in _DROPPED:
        return Html("")
    if name not in _ELEMENTS:
        raise CalibError(f"A figure holds <{name}>, which a report does not take.")
    attributes: dict[str, str | bool | None] = {}
    for key, value in element.attrib.items():
        key = _local(key)
        if key == "href" and not value.startswith(("#", "data:image/png;base64,")):
            raise CalibError("A figure refers to something outside it.")
        if key.lower().startswith("on"):
            raise CalibError(f"A figure has the attribute {key}, which a report does not take.")
        attributes[key] = _prefixed(key, value, prefix)
    inside = [element.text or ""] if name in ("text", "tspan") else []
    for child in element:
        inside.append(_rebuilt(child, prefix))
        inside += [child.tail or ""] if name in ("text", "tspan") else []
    if name == "defs" and not joined(inside):
        return Html("")
    return tag(name, *inside, **attributes)


def _prefixed(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if key == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    return _INSIDE.sub(rf"url(#{prefix}\1)", value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
