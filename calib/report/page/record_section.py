"""What stands around the results: what was run, where its files are, its settings and notes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from calib.models.load import MINI
from calib.report.page.markup import Html, link_to, tag
from calib.runs.manifest import RUN_FILE
from calib.runs.operating_points import OPERATING_POINTS_FILE
from calib.runs.row_store import ROWS_FILE
from calib.runs.run import Run
from calib.runs.run_files import CONFIG_FILE, EXAMPLES_FILE, LABELS_FILE, RESULTS_FILE

FILES = {
    RESULTS_FILE: "every metric with n and its 95% interval",
    OPERATING_POINTS_FILE: "what was chosen on validation",
    ROWS_FILE: "every prompt and response",
    LABELS_FILE: "the label of each response",
    EXAMPLES_FILE: "what was asked",
    CONFIG_FILE: "the settings",
    RUN_FILE: "what the run is of and what made it",
}
MODEL_ORGANISM = (
    "mini-internvl is a model organism: a small model that comes with calib, made miscalibrated on "
    "purpose. These are not results on a published model."
)


def heading(runs: Sequence[Run]) -> Html:
    """Title, and for each run the checkpoint, the data, the judge and the date."""
    several = len(runs) > 1
    checkpoints = list(dict.fromkeys(found.checkpoint for found in runs))
    title = checkpoints[0] if len(checkpoints) == 1 else f"{len(checkpoints)} checkpoints"
    lists = [_facts(found, several) for found in runs]
    organism = [tag("p", MODEL_ORGANISM, class_="warning")] if MINI in checkpoints else []
    kicker = tag("p", f"calib report, {len(runs)} runs" if several else "calib report",
                 class_="kicker")  # fmt: skip
    return tag("header", kicker, tag("h1", title), *lists, *organism)


def _facts(found: Run, several: bool) -> Html:
    facts = {"Run": found.name, "Checkpoint": found.checkpoint} if several else {"Run": found.name}
    facts |= {"Data": found.data, "Judge": found.judge}
    if isinstance(date := found.provenance.get("date"), str):
        facts["Date"] = date
    if isinstance(version := found.provenance.get("calib"), str):
        facts["calib"] = version
    items = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts.items()]
    return tag("dl", *items, class_="facts")


def record_section(runs: Sequence[Run], out: Path) -> Html:
    """Files, settings, versions and notes of each run."""
    parts = [part for found in runs for part in _of_run(found, out, len(runs) > 1)]
    return tag("section", tag("h2", "Record", id="record-title"), *parts,
               aria_labelledby="record-title")  # fmt: skip


def _of_run(found: Run, out: Path, several: bool) -> list[Html]:
    folder = found.folder
    there = Path(os.path.relpath(folder.resolve(), out.parent.resolve()))
    files = [
        tag("li", tag("a", name, href=link_to(there / name)), f" {what}")
        for name, what in FILES.items()
        if (folder / name).is_file()
    ]
    notes = found.provenance.get("notes")
    said = [str(note) for note in notes] if isinstance(notes, list) else []
    shown = [tag("p", "Notes of the run:"), tag("ul", *(tag("li", note) for note in said))]
    versions = {key: value for key, value in found.provenance.items() if key != "notes"}
    return [
        *([tag("h3", found.name)] if several else []),
        tag("p", "Files, beside this page as long as it is not moved:"),
        tag("ul", *files, class_="files"),
        *(shown if said else []),
        _folded(f"Settings ({CONFIG_FILE})", found.settings_text),
        _folded("Versions", json.dumps(versions, indent=2, ensure_ascii=False)),
    ]


def _folded(title: str, text: str) -> Html:
    return tag("details", tag("summary", title), tag("pre", text, tabindex="0", aria_label=title))
