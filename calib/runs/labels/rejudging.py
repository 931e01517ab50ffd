"""Judge the responses of a finished run again, by another judge, mapping or rule of choice."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from calib.config.choose import ChooseConfig
from calib.config.judge import JudgeRunConfig
from calib.config.typed import typed_config
from calib.judges.registry import choose_judge, sees_pictures
from calib.runs.labels.judging import Judging, judge_responses
from calib.runs.manifest import RUN_FILE
from calib.runs.operating_points import (
    FIT_DETAILS,
    operating_point_records,
    select_operating_points,
)
from calib.runs.run import Run
from calib.runs.selection_notes import selection_notes
from calib.scoring.judged import unjudged
from calib.scoring.result_table import ResultTable
from calib.scoring.results import BASELINE, rounded
from calib.scoring.score import in_order, score
from calib.util.errors import CalibError


def rejudge(
    config: JudgeRunConfig, run: Run, out: Path | None
) -> tuple[Run, dict[str, Path], list[str]]:
    """Judge every response of ``run``, select its operating points anew and write its tables.

    Layers and variants stay those that the run reported on test: the others have no responses
    there. Returns the run with the new labels, the paths written by what they are, and notes.

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
    require_complete_responses(run, judge.id)
    pictures = sees_pictures(config.judge)
    if pictures:
        run = run.with_pictures("judge.image=true shows the judge every picture")
    judging = Judging(judge, run.folder, pictures)
    examples = [run.examples[row.example] for row in run.rows]
    records = [run.responses[row.row] for row in run.rows]
    judged = judge_responses(run.rows, examples, records, judging)
    mapping = config.mapping or run.mapping
    rule = _choice_rule(run, config.choose)
    on_validation = [response for response in judged if response.split == "validation"]
    tested = score([response for response in judged if response.split == "test"], mapping)
    validated = score(on_validation, mapping)
    reported = {result.key for result in tested}
    points = {str(point["method"]): point for point in run.operating_points}
    selected = select_operating_points(on_validation, validated, points, rule, mapping, reported)
    prompts = [method for method, point in points.items() if point.get("prompt_only")]
    rejudged = run.replace(
        folder=out or run.folder / "judged" / _folder_name(judge.id, mapping, run.mapping),
        settings=run.settings | {"mapping": mapping, "choose": asdict(rule)},
        results=ResultTable(rounded(in_order([*validated, *tested]))),
        operating_points=operating_point_records(
            run.checkpoint,
            selected,
            rule,
            {method: str(point["strength_means"]) for method, point in points.items()},
            prompts,
            next((method for method, point in points.items() if point.get("reference")), None),
            {
                method: {key: point[key] for key in FIT_DETAILS if key in point}
                for method, point in points.items()
            },
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
    notes += [*judging.notes(), *selection_notes(selected, rule)]
    if run.is_of_earlier_mapping:
        notes.append(
            "the run is of an earlier version of calib; its labels are scored under "
            f"mapping={mapping} as it is now"
        )
    if {setting.method for setting in reported} - {BASELINE, *prompts}:
        notes.append("methods stay fitted to the labels of the run's own judge")
    return rejudged, rejudged.write_scores(), notes


def _choice_rule(run: Run, changes: Mapping[str, Any] | None) -> ChooseConfig:
    """The rule by which the run chose its operating points, with ``changes`` to it.

    A run of a version without such a rule has the present defaults. Raises CalibError for a setting
    that does not exist or has a value that it does not take.
    """
    own = run.settings.get("choose") or {}
    return typed_config([ChooseConfig], {**own, **(changes or {})}, what="choose")


def require_complete_responses(run: Run, judge: str) -> None:
    """Raise CalibError when generation.early_stop cut responses and ``judge`` is not the run's own.

    A cut response ends as soon as the run's judge is certain of its label, so that no other judge,
    and no person, can label it.
    """
    cut = sum(run.responses[row.row].get("finish") == "cut" for row in run.rows)
    if cut and judge != run.judge:
        raise CalibError(
            "conflicting-settings",
            f"{cut} responses of {run.folder} were cut as soon as judge {run.judge} was certain of "
            "their label (generation.early_stop=true), so only it can judge them. Run the sweep "
            "without early_stop to label its responses in another way.",
        )


def _folder_name(judge: str, mapping: str, own: str) -> str:
    """Name of the folder for a judge's labels under a mapping; ``own`` is the run's mapping."""
    # A judge's id comes from third-party model names: it must not lead out of the folder.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", judge).strip("._-")[:80]
    if name != judge or not name:  # two judges must not share a folder
        name = f"{name}-{hashlib.sha256(judge.encode()).hexdigest()[:8]}".lstrip("-")
    return name if mapping == own else f"{name}-{mapping}"
