"""Drawing and saving of figures: the common style, the two widths, the file formats."""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from calib.config.choices import FIGURE_FORMATS
from calib.runs.run import Run
from calib.util.errors import CalibError
from calib.util.files import write_atomically

COLUMN_INCHES = {1: 3.3, 2: 6.9}
"""Width of a figure that spans one or two columns of a paper."""

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 7,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # keeps text editable and searchable
    "svg.fonttype": "none",
    "svg.hashsalt": "calib",  # makes the ids reproducible
}


class NotDrawn(CalibError):
    """The runs lack the results that a figure shows; the message says which, and what to run."""


Draw = Callable[[Sequence[Run], int], Figure]
"""Draws a figure of some runs over 1 or 2 columns; raises NotDrawn if they lack its results."""


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style of our figures, independent of the user's matplotlibrc."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes, which must not be an error.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, stem: Path, formats: Sequence[str] = FIGURE_FORMATS) -> list[Path]:
    """Write ``stem`` in each of ``formats``, each file atomically, and return the paths.

    Raises CalibError if writing fails.
    """
    paths = [stem.with_name(f"{stem.name}.{name}") for name in formats]
    for path, name in zip(paths, formats, strict=True):
        if name == "svg":
            write_atomically(path, svg_of(figure))
            continue
        file = io.BytesIO()
        with figure_style():
            figure.savefig(file, format=name, dpi=200, metadata=_METADATA[name])
        write_atomically(path, file.getvalue())
    return paths


def svg_of(figure: Figure) -> str:
    """Return the figure as the text of an SVG file."""
    file = io.StringIO()
    with figure_style():
        figure.savefig(file, format="svg", metadata=_METADATA["svg"])
    return _with_numbered_clips(file.getvalue())


def _with_numbered_clips(svg: str) -> str:
    """Number the clipping areas: matplotlib names them by a hash of their coordinates, whose last
    digits depend on the order of sets in its layout, and so on the process."""
    numbers = {name: f"clip{k}" for k, name in enumerate(re.findall(r'<clipPath id="(\w+)"', svg))}
    return re.sub(
        r'(<clipPath id="|clip-path="url\(#)(\w+)',
        lambda found: found[1] + numbers.get(found[2], found[2]),
        svg,
    )


# Without dates and versions, equal results give equal files.
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
