"""Figures of the page: matplotlib's SVG, rebuilt from an allow list of elements."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from calib.report.figures.gallery import FIGURES
from calib.report.figures.io import Draw, NotDrawn, svg_of
from calib.report.page.colours import follow_mode
from calib.report.page.markup import joined, tag
from calib.runs.run import Run
from calib.util.errors import CalibError

CAPTIONS = {
    "trade_off": (
        "Unsafe handled, safe answered and utility against strength",
        "The effect of each strength on unsafe queries handled safely (SRA_u), safe queries "
        "answered (SRA_s), and utility.",
    ),
    "calibration_against_utility": (
        "Calibration against utility",
        "Each point is a setting. Higher is better calibrated, further right is more helpful. "
        "Compare with the uncalibrated model and the prompt-only methods.",
    ),
    "methods": (
        "Methods compared",
        "Each method at its operating point, chosen on validation. Both sides (SRA) is the mean of "
        "unsafe queries handled safely (SRA_u) and safe queries answered (SRA_s).",
    ),
    "sra_plane": (
        "Unsafe handled against safe answered",
        "SRA_u against SRA_s. The upper right corner is a model that refuses every unsafe query "
        "and no safe one.",
    ),
    "vscbench_grid": (
        "Calibration and helpfulness by part of the benchmark",
        "Of one model, calibration is on the left and helpfulness on the right; of several, "
        "calibration is above and helpfulness below.",
    ),
    "heat_map": ("Layers and strengths", "The effect of each layer and strength, on validation."),
    "layers": (
        "Layers",
        "How well the direction at each layer separates the classes, and the effect of steering "
        "there.",
    ),
    "categories": ("Categories", "SRA by hazard category, uncalibrated and calibrated."),
    "perturbations": (
        "Perturbations", "How perturbations of the picture change the dual-use rates."
    ),
    "projections": (
        "Projections on the direction", "Held-out examples of both classes along the direction."
    ),
}  # fmt: skip
"""Title and explanation by figure."""
WITHOUT_UTILITY = CAPTIONS | {
    "trade_off": (
        "Unsafe handled and safe answered against strength",
        "The effect of each strength on unsafe queries handled safely (SRA_u) and safe queries "
        "answered (SRA_s). Utility was not measured.",
    ),
    "calibration_against_utility": (
        "Calibration, without utility",
        "Each point is a setting. Higher and further right is better. Utility was not measured.",
    ),
    "vscbench_grid": ("Calibration by part of the benchmark", "Utility was not measured."),
}
"""Title and explanation by figure, if a run has no utility."""
CROSSING = "Where the curves of SRA_u and SRA_s cross, one kind of error is traded for the other."
"""Added to the explanation of trade_off if both curves are drawn."""
FIRST = ("methods", "trade_off", "calibration_against_utility", "sra_plane")
"""The most important figures, in order; the page shows the first two and folds the others away."""
JOINT = ("calibration_against_utility", "methods", "trade_off", "sra_plane")
"""Those of several runs with a joint verdict, which show the methods of all runs as of one."""

_ELEMENTS = frozenset(
    ("svg", "g", "defs", "path", "use", "clipPath", "rect", "text", "tspan", "image", "pattern",
     "polygon", "polyline", "line", "circle", "ellipse", "linearGradient", "stop")
)  # fmt: skip
_DROPPED = frozenset({"metadata", "style"})
"""Elements left out: a style would apply to the whole page, which has its own stylesheet."""
_REFERENCE = re.compile(r"url\(#([^()\"']+)\)")


@dataclass(frozen=True)
class Drawing:
    """A figure of the page."""

    name: str
    title: str
    markup: Markup


def drawings(runs: Sequence[Run], joint: Run | None = None) -> list[Drawing]:
    """Draw every figure that these runs have the results for, the most important first.

    ``joint`` has the methods of all runs, see calib.report.joint.
    """
    first = JOINT if joint else FIRST
    order = sorted(FIGURES, key=lambda name: first.index(name) if name in first else len(first))
    drawn = [
        _drawing(name, FIGURES[name], [joint] if joint and name in JOINT else runs)
        for name in order
    ]
    return [drawing for drawing in drawn if drawing is not None]


def _drawing(name: str, draw: Draw, runs: Sequence[Run]) -> Drawing | None:
    try:
        figure = draw(runs, 2)
        svg = svg_of(figure)
    except NotDrawn:
        return None
    captions = CAPTIONS if all(_measured_utility(run) for run in runs) else WITHOUT_UTILITY
    title, explanation = captions.get(name, (name.replace("_", " ").capitalize(), ""))
    if name == "trade_off" and _shows_both_sides(figure):
        explanation += f" {CROSSING}"
    picture = inline(svg, f"figure-{name}-", f"{title}. {explanation}".strip())
    caption = tag("figcaption", tag("strong", f"{title}."), " ", explanation)
    return Drawing(name, title, tag("figure", tag("div", picture, class_="plate"), caption))


def _measured_utility(run: Run) -> bool:
    return any(result.dataset == "utility" and result.n for result in run.results)


def _shows_both_sides(figure: Figure) -> bool:
    """Whether ``figure`` has a curve of SRA_u and one of SRA_s, over several strengths."""
    lines = [line for axes in figure.axes for line in axes.lines]
    joined_lines = (line for line in lines if line.get_linestyle() not in ("None", ""))
    labels = [str(line.get_label()) for line in joined_lines if np.size(line.get_xdata()) > 1]
    return {"SRA_u", "SRA_s"} <= {label.partition(":")[0] for label in labels}


def inline(svg: str, prefix: str, label: str) -> Markup:
    """Turn an SVG file into an image inside the page, with the accessible name ``label``.

    Its ids get ``prefix``, so that figures do not share any. Raises CalibError for elements,
    attributes or addresses that a drawing does not need, such as scripts.
    """
    root = ElementTree.fromstring(svg)
    children = [_rebuilt(child, prefix) for child in root]
    return tag("svg", *children, role="img", aria_label=label, viewBox=root.get("viewBox"))


def _rebuilt(element: ElementTree.Element, prefix: str) -> Markup:
    name = _local(element.tag)
    if name in _DROPPED:
        return Markup("")
    if name not in _ELEMENTS:
        raise CalibError(
            "unsupported", f"A figure has the element <{name}>, which the report does not accept."
        )
    attributes: dict[str, str | bool | None] = {}
    for key, value in element.attrib.items():
        key = _local(key)
        if key == "href" and not value.startswith(("#", "data:image/png;base64,")):
            raise CalibError("unsupported", f"A figure refers to '{value}', outside the figure.")
        if key.lower().startswith("on"):
            raise CalibError(
                "unsupported",
                f"A figure has the attribute {key}, which the report does not accept.",
            )
        value = follow_mode(value) if key == "style" else value
        attributes[key] = _prefixed(key, value, prefix)
    is_text = name in ("text", "tspan")
    children = [element.text or ""] if is_text else []
    for child in element:
        children.append(_rebuilt(child, prefix))
        children += [child.tail or ""] if is_text else []
    if name == "defs" and not joined(children):
        return Markup("")
    return tag(name, *children, **attributes)


def _prefixed(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if key == "href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    return _REFERENCE.sub(rf"url(#{prefix}\1)", value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
