"""The marker of a method as a small drawing beside its name in a table."""

from markupsafe import Markup
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Transform

from calib.report.figures.method_styles import MethodStyle, method_style
from calib.report.page.colours import follow_mode
from calib.report.page.markup import tag

_SIZE = 9.0
"""Width of a marker in a box of 14 by 14."""
_CODES = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


def swatch(name: str, prompt_only: bool) -> Markup:
    """Return the marker of a method, as figures draw it; screen readers skip it."""
    style = method_style(name, prompt_only)
    half = style.fill not in ("full", "white")
    marker = MarkerStyle(style.marker, "full" if style.fill == "white" else style.fill)
    paths = [_shape(marker.get_path(), marker.get_transform(), style, style.fill != "white")]
    other = marker.get_alt_path()
    if half and other is not None:
        paths.append(_shape(other, marker.get_alt_transform(), style, False))
    return tag("svg", *paths, class_="swatch", viewBox="-7 -7 14 14", aria_hidden="true")


def _shape(path: Path, transform: Transform, style: MethodStyle, filled: bool) -> Markup:
    scaled = path.transformed(transform + Affine2D().scale(_SIZE, -_SIZE))
    data = []
    for vertices, code in scaled.iter_segments(simplify=False):
        if code == Path.CLOSEPOLY:
            data.append("Z")
        else:
            data.append(_CODES[code] + " ".join(f"{value:.3g}" for value in vertices))
    colour = style.colour.lower()
    look = f"fill: {colour if filled else '#ffffff'}; stroke: {colour}"
    return tag("path", d=" ".join(data), style=follow_mode(look))
