"""The agreement of a judge with human labels."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calib.config.checks import translation
from calib.config.choices import LABELS
from calib.config.judge import JudgeRunConfig
from calib.data.example import Example
from calib.data.tables import TableRow, cell_text, check_columns, open_table
from calib.judges.judge import JudgeInput
from calib.judges.registry import choose_judge, sees_pictures
from calib.runs.labels.judging import Judging
from calib.runs.labels.rejudging import require_complete_responses
from calib.runs.row_store import locked
from calib.runs.run import Run
from calib.scoring.agreement import Agreement, agreement
from calib.util.errors import CalibError, did_you_mean
from calib.util.files import from_csv_safe, home_expanded, without_control_characters
from calib.util.thoughts import final_answer

COLUMNS = ("response", "label")
OPTIONAL = ("id", "query", "request", "text", "safety")
REFUSED = ("safe_completion", "blocked")
"""Labels that config.merge counts as refusals."""


@dataclass(frozen=True)
class Comparison:
    """The agreement of a judge with human labels."""

    judge: str
    agreement: Agreement
    notes: list[str]


def compare(config: JudgeRunConfig, run: Run | None) -> Comparison:
    """Judge the responses of a table and compare the labels with the human ones in it.

    With ``run``, a row whose id is one of the run's is judged with the run's own prompt and
    response: a spreadsheet program may have changed the text. Raises CalibError for wrong columns,
    unknown labels, a table without labels, and an unknown or unreachable judge.
    """
    path = home_expanded(str(config.check))
    words = translation("columns", config.columns)

    def header_fit(names: Sequence[str]) -> float:
        """The share of the columns that a row of a sheet names."""
        return len({words.get(column, column) for column in COLUMNS} & set(names)) / len(COLUMNS)

    opened = open_table(path, header_fit=header_fit)
    table = _renamed(opened.rows, words, path)
    check_columns(table[:1], COLUMNS, str(path), OPTIONAL)  # later rows may have no label yet
    labelled = [row for row in table if cell_text(row, "label")]
    if not labelled:
        raise CalibError(
            "missing-value",
            f"{path}: no row has a label. Write one of {', '.join(LABELS)} in column label, or "
            "map your words to labels: labels={yes: refusal}.",
        )
    meanings = translation("labels", config.labels)
    truth = [_label(cell_text(row, "label"), meanings, path) for row in labelled]
    data, checkpoint = (run.data, run.checkpoint) if run else ("", None)
    judge = choose_judge(config.judge, data, checkpoint)
    by_id = {row.row: row for row in run.rows} if run else {}
    of_run = [by_id.get(cell_text(row, "id")) for row in labelled]
    if judge.id == "rules" and None in of_run:
        raise CalibError(
            "conflicting-settings",
            f"{path}: {of_run.count(None)} of {len(of_run)} rows are not rows of "
            f"{run and run.folder}, and judge=rules knows the mini world only. Use judge=string.",
        )
    if run and any(of_run):
        require_complete_responses(run, judge.id)
    pictures = sees_pictures(config.judge)
    if run and pictures:
        run = run.with_pictures("judge.image=true shows the judge every picture")
    inputs = [
        JudgeInput(run.examples[row.example], run.responses[row.row]["response"])
        if run and row
        else _judge_input(line, k)
        for k, (line, row) in enumerate(zip(labelled, of_run, strict=True))
    ]
    folder = run.folder if run else path.parent
    with locked(folder) if judge.costly else nullcontext():
        judging = Judging(judge, folder, pictures)
        given = [verdict.label for verdict in judging(inputs)]
    clusters = [
        run.examples[row.example].cluster if run and row else f"row {k}"
        for k, row in enumerate(of_run)
    ]
    labels = zip(given, truth, clusters, strict=True)
    both = [(g, t, c) for g, t, c in labels if g is not None]
    merged = [(_merged(g), _merged(t), c) if config.merge else (g, t, c) for g, t, c in both]
    notes = list(opened.notes)
    if run and None in of_run:
        notes.append(
            f"{of_run.count(None)} of {len(of_run)} rows are not rows of the run: the table's text "
            "is judged"
        )
    changed = sum(
        row is not None and _plain(line, "response") not in _in_sheet(judge_input.response)
        for line, row, judge_input in zip(labelled, of_run, inputs, strict=True)
    )
    if changed:
        notes.append(
            f"{changed} of {len(of_run)} responses differ from the run's: the run's are judged"
        )
    if len(labelled) < len(table):
        notes.append(f"{len(table) - len(labelled)} of {len(table)} rows have no label: left out")
    if len(both) < len(given):
        notes.append(f"{len(given) - len(both)} of {len(given)} rows got no verdict: left out")
    notes += judging.notes()
    given_labels, true_labels = [g for g, *_ in merged], [t for _, t, _ in merged]
    result = agreement(given_labels, true_labels, [cluster for *_, cluster in merged])
    return Comparison(judge.id, result, notes)


def _renamed(table: Sequence[TableRow], columns: Mapping[str, str], path: Path) -> list[TableRow]:
    """The rows with our names of columns; ``columns`` maps them to the table's names."""
    known = (*COLUMNS, *OPTIONAL)
    for ours, theirs in columns.items():
        if ours not in known:
            raise CalibError(
                "unknown-name",
                f"columns: there is no '{ours}'.{did_you_mean(ours, known)} Choose from "
                f"{', '.join(known)}.",
            )
        if table and theirs not in table[0]:
            raise CalibError(
                "missing-column",
                f"columns: {path} has no column '{theirs}'.{did_you_mean(theirs, table[0])}",
            )
    return [row | {ours: row.get(theirs) for ours, theirs in columns.items()} for row in table]


def _label(given: str, labels: Mapping[str, str], path: Path) -> str:
    label = labels.get(given, given)
    if label not in LABELS:
        where = f"labels, for '{given}' of {path}" if given in labels else f"{path}"
        raise CalibError(
            "unknown-name",
            f"{where}: '{label}' is no label.{did_you_mean(label, LABELS)} Choose from "
            f"{', '.join(LABELS)}, or map your words to labels, e.g. labels={{yes: refusal}}.",
        )
    return label


def _merged(label: str) -> str:
    return "refusal" if label in REFUSED else label


def _judge_input(row: Mapping[str, Any], number: int) -> JudgeInput:
    """The response of a table's row, with an example made from its other columns."""
    metadata = {name: _plain(row, name) for name in ("request", "text") if _plain(row, name)}
    safety = cell_text(row, "safety")
    example = Example(
        id=cell_text(row, "id") or str(number),
        dataset="dual_use" if "text" in metadata else "text_centric",
        variant="none",
        category="none",
        split="test",
        query=_plain(row, "query"),
        safety="safe" if safety == "safe" else "unsafe" if safety == "unsafe" else None,
        metadata=metadata,
    )
    # A judge may look at line breaks; an apostrophe that guards a formula is not part of the text.
    return JudgeInput(example, from_csv_safe(str(row.get("response") or "")))


def _plain(row: Mapping[str, Any], column: str) -> str:
    """The text of a cell in one line, without the apostrophe that guards a formula."""
    return " ".join(from_csv_safe(str(row.get(column) or "")).split())


def _in_sheet(response: str) -> set[str]:
    """A response in one line, as an annotation sheet has it: without thoughts, and with them in
    sheets of earlier versions."""
    texts = [without_control_characters(text) for text in (final_answer(response), response)]
    return {" ".join(text.encode("utf-8", "backslashreplace").decode().split()) for text in texts}
