"""The page's heading, and its record: the files, settings, versions and notes of each run."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from calib.config.model import PACKAGED
from calib.data.examples_file import EXAMPLES_FILE
from calib.report.alarms import alarms
from calib.report.method_table import METHODS_FILE
from calib.report.page.markup import link_to, tag
from calib.runs.manifest import RUN_FILE
from calib.runs.operating_points import OPERATING_POINTS_FILE
from calib.runs.provenance import session_notes
from calib.runs.row_store import ROWS_FILE
from calib.runs.run import Run
from calib.runs.run_files import CONFIG_FILE, LABELS_FILE, RESULTS_FILE

FILES = {
    RESULTS_FILE: "every metric with n and its 95% interval",
    OPERATING_POINTS_FILE: "the setting of each method, chosen on validation",
    METHODS_FILE: "the methods by rank, with intervals",
    ROWS_FILE: "every prompt and response",
    LABELS_FILE: "the label of each response",
    EXAMPLES_FILE: "the examples",
    CONFIG_FILE: "the settings",
    RUN_FILE: "the run's configuration and versions",
}
MODEL_ORGANISM = (
    "{} is a model organism: a small model that comes with calib, made miscalibrated on "
    "purpose. These are not results on a published model."
)


def heading(runs: Sequence[Run]) -> Markup:
    """Return the title, then the model, data, judge and date of each run, and its alarms."""
    several = len(runs) > 1
    models = list(dict.fromkeys(run.model_name for run in runs))
    title = models[0] if len(models) == 1 else f"{len(models)} models"
    organism = [
        tag("p", MODEL_ORGANISM.format(name), class_="warning")
        for name in models
        if name in PACKAGED
    ]
    warnings = [
        tag("p", f"{run.name}: {text}" if several else text, class_="warning", role="note")
        for run in runs
        for text in alarms(run)
    ]
    kicker = tag("p", f"calib report, {len(runs)} runs" if several else "calib report",
                 class_="kicker")  # fmt: skip
    metadata = [_metadata(run, several) for run in runs]
    return tag("header", kicker, tag("h1", title), *metadata, *organism, *warnings)


def _metadata(run: Run, several: bool) -> Markup:
    metadata = {"Run": run.name, "Model": run.model_name} if several else {"Run": run.name}
    metadata |= {"Data": run.data, "Judge": run.judge}
    for title, key in (("Date", "date"), ("calib", "calib")):
        if isinstance(value := run.provenance.get(key), str):
            metadata[title] = value
    items = [tag("div", tag("dt", name), tag("dd", value)) for name, value in metadata.items()]
    return tag("dl", *items, class_="metadata")


def record_section(runs: Sequence[Run], out: Path) -> Markup:
    """Return the files, settings, versions and notes of each run; links start from ``out``."""
    parts = [part for run in runs for part in _record(run, out, len(runs) > 1)]
    return tag("section", tag("h2", "Record", id="record-title"), *parts,
               aria_labelledby="record-title")  # fmt: skip


def _record(run: Run, out: Path, several: bool) -> list[Markup]:
    folder = Path(os.path.relpath(run.folder.resolve(), out.parent.resolve()))
    files = [
        tag("li", tag("a", name, href=link_to(folder / name)), f" {content}")
        for name, content in FILES.items()
        if (run.folder / name).is_file()
    ]
    notes = run.provenance.get("notes")
    notes = [str(note) for note in notes] if isinstance(notes, list) else []
    notes += session_notes(run.manifest)
    shown = ("notes", "command")
    versions = {key: value for key, value in run.provenance.items() if key not in shown}
    if "sessions" in run.manifest:
        versions["sessions"] = run.manifest["sessions"]
    return [
        *([tag("h3", run.name)] if several else []),
        tag("p", "Files. The links work as long as this page is not moved:"),
        tag("ul", *files, class_="files"),
        *([tag("p", "Notes of the run:")] if notes else []),
        *([tag("ul", *(tag("li", note) for note in notes))] if notes else []),
        *_fits(run),
        *_repeating(str(run.provenance.get("command", ""))),
        _folded(f"Settings ({CONFIG_FILE})", run.settings_text),
        _folded("Versions", json.dumps(versions, indent=2, ensure_ascii=False)),
    ]


def _fits(run: Run) -> list[Markup]:
    """What the fits of the methods picked from the data; nothing in runs of earlier versions."""
    notes = [str(note) for record in run.operating_points for note in record.get("fit_notes", ())]
    shown = [record for record in run.operating_points if record.get("demonstrations")]
    return [
        *([tag("p", "Picked from the data by the fits of the methods:")] if notes else []),
        *([tag("ul", *(tag("li", note) for note in dict.fromkeys(notes)))] if notes else []),
        *(
            _folded(
                f"Demonstrations of {record['method']} by strength",
                json.dumps(record["demonstrations"], indent=2, ensure_ascii=False),
            )
            for record in shown
        ),
    ]


def _repeating(command: str) -> list[Markup]:
    if not command:  # made from Python, or by an earlier version
        return []
    return [
        tag("p", "To repeat this run (out=FOLDER writes it to another folder):"),
        tag("pre", command, tabindex="0", aria_label="Command that repeats this run"),
    ]


def _folded(title: str, text: str) -> Markup:
    return tag("details", tag("summary", title), tag("pre", text, tabindex="0", aria_label=title),
               class_="raw")  # fmt: skip
