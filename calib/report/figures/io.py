"""What a figure is to those who ask for one: drawn from finished runs, in one of two widths, or not
drawn and why; and how it is written."""

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure

from calib.config.choices import FIGURE_FORMATS
from calib.runs.run import Run
from calib.util.errors import CalibError

COLUMN_INCHES = {1: 3.3, 2: 6.9}
"""Width of a figure over one and over two columns of a paper."""

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
    "pdf.fonttype": 42,  # text stays text, for whoever edits or searches the file
    "svg.fonttype": "none",
    "svg.hashsalt": "calib",  # equal figures are equal bytes
}


class NotDrawn(CalibError):
    """The runs hold nothing that this figure shows; the text says what is missing and what to
    run to have it."""


Draw = Callable[[Sequence[Run], int], Figure]
"""Draws a figure of some runs over 1 or 2 columns; raises NotDrawn."""


@contextmanager
def own_style() -> Iterator[None]:
    """Within it figures look the same whatever the user's matplotlibrc says."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def save(figure: Figure, stem: Path, formats: Sequence[str] = FIGURE_FORMATS) -> list[Path]:
    """Write ``stem`` in each of ``formats``; their paths. Raises CalibError when writing fails."""
    paths = [stem.with_name(f"{stem.name}.{name}") for name in formats]
    with own_style():
        for path, name in zip(paths, formats, strict=True):
            try:
                stem.parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(path, dpi=200, metadata=_UNDATED[name])
            except OSError as error:
                raise CalibError(
                    f"Cannot write the figure {path}: {error.strerror or error}. Free space or "
                    "give another folder, then draw it again from the results."
                ) from error
    return paths


def svg_of(figure: Figure) -> str:
    """The figure as text, to stand in a page."""
    file = io.StringIO()
    with own_style():
        figure.savefig(file, format="svg", metadata=_UNDATED["svg"])
    return file.getvalue()


# Without dates and versions the same results give the same bytes.
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
