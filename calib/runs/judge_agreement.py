"""A judge against labels given by hand."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.checks import translation
from calib.config.choices import LABELS
from calib.config.commands import JudgeRunConfig
from calib.data.example import Example
from calib.data.tables import TableRow, cell_text, check_columns, read_table
from calib.judges.judge import JudgeInput
from calib.judges.registry import choose_judge, sees_pictures
from calib.runs.judging import Judging
from calib.runs.row_store import locked
from calib.runs.run import Run
from calib.scoring.agreement import Agreement, agreement
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import from_csv_safe

COLUMNS = ("response", "label")
OPTIONAL = ("id", "query", "request", "text", "safety")
REFUSED = ("safe_completion", "blocked")


@dataclass(frozen=True)
class Comparison:
    """How far a judge agrees with human labels."""

    judge: str
    agreement: Agreement
    notes: list[str]


def compare(config: JudgeRunConfig, run: Run | None) -> Comparison:
    """Judge the responses of a table and compare with its labels.

    With ``run``, rows whose id is in it are judged as they were asked and answered there: a
    spreadsheet program may have changed what it could not show. Raises CalibError for
    wrong columns, unknown labels, a table without labels, and a judge that cannot be had.
    """
    path = Path(str(config.check)).expanduser()
    rows = _renamed(read_table(path), translation("columns", config.columns), path)
    check_columns(rows, COLUMNS, str(path), OPTIONAL)
    labelled = [row for row in rows if cell_text(row, "label")]
    if not labelled:
        raise CalibError(
            f"{path}: no row has a label. Write one of {', '.join(LABELS)} in column label, or say "
            "what your words mean: labels={yes: refusal}."
        )
    meanings = translation("labels", config.labels)
    truth = [_label(cell_text(row, "label"), meanings, path) for row in labelled]
    data, checkpoint = (run.data, run.checkpoint) if run else ("", None)
    judge = choose_judge(config.judge, data, checkpoint)
    places = {place.row: place for place in run.rows} if run else {}
    own = [places.get(cell_text(row, "id")) for row in labelled]
    if judge.id == "rules" and None in own:
        raise CalibError(
            f"{path}: {own.count(None)} of {len(own)} rows are not of {run and run.folder}, and "
            "judge=rules knows the mini world only; use judge=string."
        )
    if run and any(own):
        run.require_complete_responses(judge.id)
    pictures = sees_pictures(config.judge)
    if run and pictures:
        run = run.with_pictures("judge.image=true shows the judge every picture")
    said = [
        run.judge_input(place) if run and place else _said(row, k)
        for k, (row, place) in enumerate(zip(labelled, own, strict=True))
    ]
    folder = run.folder if run else path.parent
    with locked(folder) if judge.costly else nullcontext():
        judging = Judging(judge, folder, pictures)
        given = [verdict.label for verdict in judging(said)]
    both = [(g, t) for g, t in zip(given, truth, strict=True) if g is not None]
    merged = [(_merged(g), _merged(t)) if config.merge else (g, t) for g, t in both]
    notes = []
    if run and None in own:
        notes.append(
            f"{own.count(None)} of {len(own)} rows are not of the run: judged by the table alone"
        )
    other = sum(
        place is not None and _shown(row, "response") != _visible(one.response)
        for row, place, one in zip(labelled, own, said, strict=True)
    )
    if other:
        notes.append(
            f"{other} of {len(own)} responses read otherwise in the run: the run's are judged"
        )
    if len(labelled) < len(rows):
        notes.append(f"{len(rows) - len(labelled)} of {len(rows)} rows have no label: left out")
    if len(both) < len(given):
        notes.append(f"{len(given) - len(both)} of {len(given)} rows got no verdict: left out")
    notes += judging.notes()
    found = agreement([g for g, _ in merged], [t for _, t in merged])
    return Comparison(judge.id, found, notes)


def _renamed(rows: Sequence[TableRow], columns: Mapping[str, str], path: Path) -> list[TableRow]:
    known = (*COLUMNS, *OPTIONAL)
    for ours, theirs in columns.items():
        if ours not in known:
            raise CalibError(
                f"columns: there is no '{ours}'.{did_you_mean(ours, known)} It may name "
                f"{', '.join(known)}."
            )
        if rows and theirs not in rows[0]:
            raise CalibError(
                f"columns: {path} has no column '{theirs}'.{did_you_mean(theirs, rows[0])}"
            )
    theirs_of = dict(columns)
    return [row | {ours: row.get(theirs) for ours, theirs in theirs_of.items()} for row in rows]


def _label(given: str, labels: Mapping[str, str], path: Path) -> str:
    label = labels.get(given, given)
    if label not in LABELS:
        where = f"labels, for '{given}' of {path}" if given in labels else f"{path}"
        raise CalibError(
            f"{where}: '{label}' is no label.{did_you_mean(label, LABELS)} Choose from "
            f"{', '.join(LABELS)}, or say what your words mean, e.g. labels={{yes: refusal}}."
        )
    return label


def _merged(label: str) -> str:
    return "refusal" if label in REFUSED else label


def _said(row: Mapping[str, Any], number: int) -> JudgeInput:
    facts = {name: _shown(row, name) for name in ("request", "text") if _shown(row, name)}
    safety = cell_text(row, "safety")
    example = Example(
        id=cell_text(row, "id") or str(number),
        dataset="dual_use" if "text" in facts else "text_centric",
        variant="none",
        category="none",
        split="test",
        query=_shown(row, "query"),
        safety="safe" if safety == "safe" else "unsafe" if safety == "unsafe" else None,
        metadata=facts,
    )
    # Line breaks count for a judge; an apostrophe that guards a formula does not.
    return JudgeInput(example, from_csv_safe(str(row.get("response") or "")))


def _shown(row: Mapping[str, Any], column: str) -> str:
    """A cell as it was before it was made safe for spreadsheets, in one line."""
    return " ".join(from_csv_safe(str(row.get(column) or "")).split())


def _visible(text: str) -> str:
    """``text`` as a sheet holds it, in one line."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
