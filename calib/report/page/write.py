"""Finished runs as one HTML file, which needs no network and no other file."""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from calib.report.page.browser import browser
from calib.report.page.drawings import Drawing, drawings
from calib.report.page.markup import Html, joined, tag
from calib.report.page.record_section import heading, record_section
from calib.report.page.tables import comparison_section, results_section
from calib.report.page.verdicts import verdict_section, verdicts
from calib.runs.run import Run
from calib.util.errors import CalibError
from calib.util.files import write_atomically

EXAMPLES = 2000
"""Most examples in a page."""
LARGEST = 24_000_000
"""Characters of a page, so that it stays under 25 MB."""
_OPEN = 2
"""Figures that are not folded away."""


def write_report(
    runs: Sequence[Run],
    out: Path,
    *,
    examples: int = EXAMPLES,
    pictures: bool = True,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of finished runs to ``out`` and return it.

    The pictures are those that the examples carry; ``notes`` says why others do not. Equal runs
    give equal bytes. Raises CalibError when a file of a run is missing or damaged, or ``out``
    cannot be written.
    """
    if not runs:
        raise CalibError("A report is of one finished run or more. Give their folders.")
    write_atomically(out, page(runs, out, examples, pictures, notes))
    return out


def page(
    runs: Sequence[Run], out: Path, examples: int, pictures: bool, notes: Sequence[str]
) -> str:
    """The whole file; ``out`` is where it will lie, which its links start from."""
    found = _named_apart(runs)
    ranked = [verdicts(one) for one in found]
    style, script = _file("report.css"), _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    fixed = {
        "style": style,
        "script": script,
        "hash": digest,
        "title": joined([f"{found[0].checkpoint} – calib report"]),
        "heading": heading(found),
        "verdict": verdict_section(found, ranked),
        "figures": _figures(drawings(found)),
        "comparison": comparison_section(ranked),
        "results": results_section(found),
        "record": record_section(found, out),
    }
    said = [*notes, *([] if pictures else ["The pictures were left out (pictures=false)."])]
    room = LARGEST - sum(len(part.encode()) for part in fixed.values())
    data = browser(found, examples, pictures, room)
    varying = {
        "notes": _notes([*said, *data.notes]),
        "count": f"{data.shown:,}",
        "data": data.data,
        "pictures": "\n".join(data.pictures),
    }
    return Template(_file("page.html")).substitute(fixed | varying)


def _named_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, each with a name of its own: folders may share theirs."""
    counts = Counter(one.folder.name for one in runs)
    names = [
        one.folder.name if counts[one.folder.name] == 1 else f"{one.folder.name} ({k})"
        for k, one in enumerate(runs, 1)
    ]
    return [one.replace(name=name) for one, name in zip(runs, names, strict=True)]


def _figures(drawn: Sequence[Drawing]) -> Html:
    if not drawn:
        return Html("")
    more = [one.markup for one in drawn[_OPEN:]]
    titles = ", ".join(one.title for one in drawn[_OPEN:])
    folded = [tag("details", tag("summary", f"More figures: {titles}"), *more)] if more else []
    return tag("section", tag("h2", "Figures", id="figures-title"),
               *(one.markup for one in drawn[:_OPEN]), *folded,
               aria_labelledby="figures-title", class_="figures")  # fmt: skip


def _notes(notes: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", one) for one in notes), class_="notes") if notes else Html("")


def _file(name: str) -> str:
    text = (resources.files("calib.report.page") / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")
