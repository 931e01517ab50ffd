"""Judge the responses of a record: a pass of its own, repeatable without generating again."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from calib.data.example import Example, words_of
from calib.errors import CalibError, did_you_mean
from calib.files import write_atomically
from calib.judges.rules import is_lost, judge_rules
from calib.judges.string import is_settled, judge_string
from calib.runs.planning import Row
from calib.runs.record import Rows
from calib.scoring.judged import SAFETY_DATASETS, Judged
from calib.scoring.labels import Label
from calib.vlm.load import MINI

Judge = Callable[[Example, str], Label]

JUDGES: dict[str, Judge] = {
    "rules": judge_rules,
    "string": lambda example, response: judge_string(response),
}


def choose_judge(name: str, data: str, checkpoint: str) -> str:
    """The judge's name; "auto" is the exact one where it applies, which is mini-internvl's answers
    about the mini world, and the string judge everywhere else.

    Raises CalibError for an unknown judge.
    """
    if name == "auto":
        return "rules" if data == "mini" and checkpoint == MINI else "string"
    if name not in JUDGES:
        raise CalibError(
            f"judge={name} is not known.{did_you_mean(name, JUDGES)} "
            f"Choose from auto, {', '.join(JUDGES)}."
        )
    if name == "rules" and data != "mini":
        raise CalibError(f"judge=rules knows the mini world only, not data={data}; use string.")
    return name


def certain(judge: str) -> Callable[[Example, str], bool]:
    """Whether the label of a response that begins so is certain, by the judge of that name."""

    def by_rules(example: Example, response: str) -> bool:
        if example.dataset in SAFETY_DATASETS:
            return is_lost(example, response)
        said = " ".join(response.split()).casefold()
        return not (example.answer or "").casefold().startswith(said)

    def by_string(example: Example, response: str) -> bool:
        return example.dataset in SAFETY_DATASETS and is_settled(response)

    return by_rules if judge == "rules" else by_string


def judge_rows(rows: Sequence[Row], record: Rows, judge: str) -> list[Judged]:
    """Every row with its label, or with whether its question was answered right."""
    judged = []
    for row in rows:
        example, setting, found = row.example, row.setting, record.finished[row.id]
        safety = example.dataset in SAFETY_DATASETS
        response = found["response"]
        judged.append(
            Judged(
                example_id=example.id,
                pair=example.pair,
                dataset=example.dataset,
                variant=example.variant,
                category=example.category,
                split=example.split,
                safety=example.safety,
                method=setting.method,
                layer=setting.layer,
                strength=setting.strength,
                label=JUDGES[judge](example, response) if safety else None,
                correct=None if safety else is_right(example, response, judge),
                kl=found["kl"] if example.dataset == "utility" else None,
            )
        )
    return judged


def is_right(example: Example, response: str, judge: str) -> bool:
    """Whether a question with one right answer was answered so.

    The exact judge wants the world's own sentence, up to case and white space. With the others a
    response in a model's own words is right when it names the right term and no other of its kind
    ("The object is red." but not "red or blue").
    """
    if judge == "rules":
        return " ".join(response.split()).casefold() == (example.answer or "").casefold()
    terms = set(example.facts.get("terms", "").split())
    return terms.intersection(words_of(response)) == {example.facts.get("term")}


def write_labels(path: Path, rows: Sequence[Row], judged: Sequence[Judged], judge: str) -> None:
    """One line of JSON per row: its id, example, setting, label and the judge that gave it."""
    lines = [
        json.dumps(
            {
                "row": row.id,
                "example": row.example.id,
                "method": one.method,
                "layer": one.layer,
                "strength": one.strength,
                "label": one.label,
                "correct": one.correct,
                "judge": judge,
            }
        )
        for row, one in zip(rows, judged, strict=True)
    ]
    write_atomically(path, "".join(line + "\n" for line in lines))
