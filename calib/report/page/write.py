"""The report of finished runs: one HTML file that needs no network and no other file."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from markupsafe import Markup

from calib.report.advice.recommendation import best_on_validation
from calib.report.joint import Joined, JointRun, joined_if_possible
from calib.report.page.browser import browser
from calib.report.page.comparison_section import comparison_section
from calib.report.page.drawings import Drawing, drawings
from calib.report.page.markup import joined, tag
from calib.report.page.parts_section import parts_section
from calib.report.page.recommendation_section import recommendation_section
from calib.report.page.record_section import heading, record_section
from calib.report.page.results_section import results_section
from calib.report.page.verdict_section import verdict_section
from calib.report.ranking import MethodVerdict, rank_methods
from calib.runs.checks.responses import require_responses
from calib.runs.run import Run
from calib.util.errors import CalibError
from calib.util.files import write_atomically

MAX_EXAMPLES = 2000
"""Default maximum number of examples in a page."""
MAX_PAGE = 24_000_000
"""Maximum number of characters of a page, so that it stays under 25 MB."""
_UNFOLDED = 2
"""Number of figures that are not folded away."""


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    examples: int = MAX_EXAMPLES,
    pictures: bool = True,
    notes: Sequence[str] = (),
    together: Joined | None = None,
) -> Path:
    """Write the report of finished runs to ``out`` and return it.

    Runs of one uncalibrated model have one verdict; ``together`` is the result of
    joined_if_possible for ``runs``, if there is one already.

    Runs are shown by their names, which should differ. The page has at most ``examples`` examples,
    with the pictures that they carry; ``notes`` says why other pictures are missing. Equal runs
    give equal bytes. Raises CalibError if a file of a run is missing or damaged, or ``out`` cannot
    be written.
    """
    if not runs:
        raise CalibError(
            "missing-value", "A report needs at least one finished run. Give the folders of runs."
        )
    for run in runs:
        require_responses(run)
    write_atomically(out, page(runs, out, examples, pictures, notes, together))
    return out


def page(
    runs: Sequence[Run],
    out: Path,
    examples: int,
    pictures: bool,
    notes: Sequence[str],
    together: Joined | None = None,
) -> str:
    """Return the content of the file; its links are relative to ``out``."""
    joint, apart = together or joined_if_possible(runs)
    judged = runs if joint is None else [joint.run]
    ranked = [rank_methods(run) for run in judged]
    style, script = _resource("report.css"), _resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    fixed = {
        "style": style,
        "script": script,
        "hash": digest,
        "title": joined([f"{runs[0].model_name} – calib report"]),
        "heading": heading(runs),
        "recommendation": recommendation_section(judged, ranked, joint, apart),
        "verdict": verdict_section(judged, ranked),
        "figures": _figures(drawings(runs, joint.run if joint else None)),
        "comparison": comparison_section(ranked),
        "results": results_section(runs),
        "parts": parts_section(runs),
        "record": record_section(runs, out),
    }
    without_pictures = [] if pictures else ["Without pictures (pictures=false)."]
    room = MAX_PAGE - sum(len(part.encode()) for part in fixed.values())
    best = [_first_shown(run, ranked, joint) for run in runs]
    data = browser(runs, examples, pictures, room, best)
    varying = {
        "notes": _notes([*notes, *without_pictures, *data.notes]),
        "data": data.data,
        "pictures": "\n".join(data.pictures),
    }
    return Template(_resource("page.html")).substitute(fixed | varying)


def _first_shown(
    run: Run, ranked: Sequence[Sequence[MethodVerdict]], joint: JointRun | None
) -> str | None:
    """Name the method that the examples of a run show first: the best on validation."""
    sources = joint.sources if joint else {}
    own = [
        verdict for methods in ranked for verdict in methods
        if sources.get(verdict.method.name, (verdict.run, ""))[0] is run
    ]  # fmt: skip
    best = best_on_validation(own)
    if best is None:
        return None
    return sources.get(best.method.name, (run, best.method.name))[1]


def _figures(figures: Sequence[Drawing]) -> Markup:
    if not figures:
        return Markup("")
    unfolded, others = figures[:_UNFOLDED], figures[_UNFOLDED:]
    folded = []
    if others:
        titles = ", ".join(figure.title for figure in others)
        summary = tag("summary", f"More figures: {titles}")
        folded = [tag("details", summary, *(figure.markup for figure in others))]
    return tag("section", tag("h2", "Figures", id="figures-title"),
               *(figure.markup for figure in unfolded), *folded,
               aria_labelledby="figures-title", class_="figures")  # fmt: skip


def _notes(notes: Sequence[str]) -> Markup:
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else Markup("")


def _resource(name: str) -> str:
    text = (resources.files("calib.report.page") / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
