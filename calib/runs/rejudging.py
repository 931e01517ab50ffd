"""A finished run with the labels of another judge: everything after generation, once more."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from calib.config.commands import JudgeRunConfig
from calib.judges.registry import choose_judge, sees_pictures
from calib.runs.judging import LABELS_FILE, Judging, write_labels
from calib.runs.manifest import RUN_FILE
from calib.runs.outcome import Outcome
from calib.runs.run import FinishedRun
from calib.runs.run_files import write_tables
from calib.runs.selection import select_operating_point
from calib.scoring.judged import unjudged
from calib.scoring.metrics import in_order, score
from calib.scoring.results import BASELINE
from calib.util.errors import CalibError


@dataclass(frozen=True)
class Rejudged:
    """What is shown of a run that was judged again, and where it lies."""

    outcome: Outcome
    judge: str
    folder: Path
    files: Mapping[str, Path]
    notes: list[str]


def rejudge(config: JudgeRunConfig, run: FinishedRun, out: Path | None) -> Rejudged:
    """Judge every response of ``run``, choose its operating points anew and write its tables.

    Layers stay those that the run reported on test: the others have no responses there. Raises
    CalibError when the judge cannot be had or reached, the responses were cut for another one, a
    picture it wants to see is not there any more, or ``out`` is the folder of a run.
    """
    if out is not None and (out / RUN_FILE).exists():
        raise CalibError(
            f"{out} is the folder of a run, whose own tables would be lost. Give another folder "
            "with out=FOLDER, or leave out away."
        )
    judge = choose_judge(config.judge, run.data, run.checkpoint)
    run.require_whole(judge.id)
    pictures = sees_pictures(config.judge)
    if pictures:
        run = run.with_pictures("judge.image=true shows the judge every picture")
    judging = Judging(judge, run.folder, pictures)
    judged = run.judged(judging)
    mapping = config.mapping or run.mapping
    tested = score([row for row in judged if row.split == "test"], mapping)
    validated = score([row for row in judged if row.split == "validation"], mapping)
    places = {(result.method, result.layer) for result in tested}
    choices = [one for one in validated if (one.method, one.layer) in places]
    points = run.operating_points
    chosen = {
        str(one["method"]): select_operating_point(choices, str(one["method"])) for one in points
    }
    axes = {str(one["method"]): str(one["strength_means"]) for one in points}
    prompts = [str(one["method"]) for one in points if one.get("prompt_only")]
    reference = next((str(one["method"]) for one in points if one.get("reference")), None)
    results = in_order([*validated, *tested])
    folder = out or run.folder / "judged" / _plain(judge.id, mapping, run.mapping)
    files = write_tables(folder, run.checkpoint, results, chosen, axes, prompts, reference)
    files["labels"] = folder / LABELS_FILE
    write_labels(files["labels"], [place.row for place in run.places], judged, judge.id)
    both = [
        (place.label, one.label)
        for place, one in zip(run.places, judged, strict=True)
        if place.label is not None and one.label is not None
    ]
    changed = sum(before != after for before, after in both)
    notes = [f"{changed} of {len(both)} labels differ from those of the run's judge, {run.judge}"]
    if left_out := unjudged(judged):
        notes.append(f"{left_out} of {len(judged)} responses got no label and are left out")
    notes += judging.notes()
    if {method for method, _ in places} - {BASELINE, *prompts}:
        notes.append("methods stay fitted to what the run's own judge labelled")
    sliced = run.data != "mini"
    found = judged, results, chosen, axes, prompts, mapping, sliced, reference
    outcome = Outcome(run.checkpoint, *found)
    return Rejudged(outcome, judge.id, folder, files, notes)


def _plain(judge: str, mapping: str, own: str) -> str:
    """A folder's name for the labels of a judge under a mapping; ``own`` is the run's mapping."""
    # Judges are named after models of others: nothing in a name may lead out of the folder.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", judge).strip("._-")[:80]
    if name != judge or not name:  # two that look alike now must not share a folder
        name = f"{name}-{hashlib.sha256(judge.encode()).hexdigest()[:8]}".lstrip("-")
    return name if mapping == own else f"{name}-{mapping}"
