"""A finished run with the labels of another judge: everything after generation, once more."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from calib.config.commands import JudgeRunConfig
from calib.judges.registry import choose_judge, sees_pictures
from calib.runs.judging import Judging, judge_responses
from calib.runs.manifest import RUN_FILE
from calib.runs.operating_points import operating_point_records, select_operating_point
from calib.runs.run import Run
from calib.scoring.judged import unjudged
from calib.scoring.score import in_order, score
from calib.scoring.results import BASELINE, rounded
from calib.util.errors import CalibError


def rejudge(
    config: JudgeRunConfig, run: Run, out: Path | None
) -> tuple[Run, dict[str, Path], list[str]]:
    """Judge every response of ``run``, select its operating points anew and write its tables.

    Layers stay those that the run reported on test: the others have no responses there. Returns the
    run with the new labels, the paths written by what they are, and notes.

    Raises CalibError when the judge is unknown or unreachable, the responses were cut for another
    one, a picture that the judge looks at is unavailable, or ``out`` is the folder of a run.
    """
    if out is not None and (out / RUN_FILE).exists():
        raise CalibError(
            "already-exists",
            f"{out} is the folder of a run, whose own tables would be overwritten. Give another "
            "folder with out=FOLDER, or omit out.",
        )
    judge = choose_judge(config.judge, run.data, run.checkpoint)
    run.require_complete_responses(judge.id)
    pictures = sees_pictures(config.judge)
    if pictures:
        run = run.with_pictures("judge.image=true shows the judge every picture")
    judging = Judging(judge, run.folder, pictures)
    examples = [run.examples[row.example] for row in run.rows]
    records = [run.responses[row.row] for row in run.rows]
    judged = judge_responses(run.rows, examples, records, judging)
    mapping = config.mapping or run.mapping
    tested = score([response for response in judged if response.split == "test"], mapping)
    validated = score([response for response in judged if response.split == "validation"], mapping)
    reported = {(result.method, result.layer) for result in tested}
    candidates = [result for result in validated if (result.method, result.layer) in reported]
    points = {str(point["method"]): point for point in run.operating_points}
    selected = {method: select_operating_point(candidates, method) for method in points}
    prompts = [method for method, point in points.items() if point.get("prompt_only")]
    rejudged = run.replace(
        folder=out or run.folder / "judged" / _folder_name(judge.id, mapping, run.mapping),
        settings=run.settings | {"mapping": mapping},
        results=rounded(in_order([*validated, *tested])),
        operating_points=operating_point_records(
            run.checkpoint,
            selected,
            {method: str(point["strength_means"]) for method, point in points.items()},
            prompts,
            next((method for method, point in points.items() if point.get("reference")), None),
        ),
        rows=[
            replace(row, label=response.label)
            for row, response in zip(run.rows, judged, strict=True)
        ],
        judge=judge.id,
        judged=judged,
    )
    both = [
        (before.label, after.label)
        for before, after in zip(run.rows, rejudged.rows, strict=True)
        if before.label is not None and after.label is not None
    ]
    changed = sum(before != after for before, after in both)
    notes = [f"{changed} of {len(both)} labels differ from those of the run's judge, {run.judge}"]
    if left_out := unjudged(judged):
        notes.append(f"{left_out} of {len(judged)} responses got no label and are left out")
    notes += judging.notes()
    if {method for method, _ in reported} - {BASELINE, *prompts}:
        notes.append("methods stay fitted to the labels of the run's own judge")
    return rejudged, rejudged.write_scores(), notes


def _folder_name(judge: str, mapping: str, own: str) -> str:
    """Name of the folder for a judge's labels under a mapping; ``own`` is the run's mapping."""
    # A judge's id comes from third-party model names: it must not lead out of the folder.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", judge).strip("._-")[:80]
    if name != judge or not name:  # two judges must not share a folder
        name = f"{name}-{hashlib.sha256(judge.encode()).hexdigest()[:8]}".lstrip("-")
    return name if mapping == own else f"{name}-{mapping}"
