"""Judge the responses of a record: a pass of its own, repeatable without generating again."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calib.data.example import Example, fingerprint
from calib.data.splits import SAFETY_DATASETS
from calib.judges.judge import Judge, JudgeInput, PartialVerdicts, RuleBased, Verdict
from calib.runs.planning import PlannedRow
from calib.runs.row_store import Record, RowStore
from calib.scoring.agreement import fleiss_kappa
from calib.scoring.answers import is_correct_answer, parse_answer
from calib.scoring.judged import Judged, checked_label
from calib.util.errors import CalibError
from calib.util.files import read_lines, write_atomically
from calib.util.progress import row_bar

LABELS_FILE = "labels.jsonl"
VERDICTS_FILE = "verdicts.jsonl"
SEGMENT = 64
"""Verdicts that cost something are safe on the disk after so many."""


class Judging:
    """A judge, and the record of what it has said where that cost something."""

    def __init__(self, judge: Judge, folder: Path, pictures: bool = False) -> None:
        """``folder`` holds the record of verdicts, of all judges of a run; ``pictures`` says that
        the judge looks at them, so that its verdicts hold for the very same pictures only."""
        self.judge, self.path, self.pictures = judge, folder / VERDICTS_FILE, pictures
        self._said: dict[str, Verdict] = {}
        self._prompt_hashes: dict[int, tuple[Example, str]] = {}  # by id(); holds the example alive

    @property
    def exact(self) -> bool:
        """Whether it knows the mini world's sentences."""
        return self.judge.id == "rules"

    def __call__(self, said: Sequence[JudgeInput]) -> list[Verdict]:
        """A verdict on each response; what was judged before is not judged again, unless the reply
        could not be read in another process: then it is asked for once more.

        Raises CalibError when the judge cannot be reached or the record cannot be written;
        finished verdicts are safe.
        """
        if not self.judge.costly:
            return self.judge(said)
        keys = [self._key(one) for one in said]
        with RowStore.open(self.path) as record:
            known = {key for key, line in record.finished.items() if line.get("label") is not None}
            known |= self._said.keys()
            new = {key: one for key, one in zip(keys, said, strict=True) if key not in known}
            distinct = len(set(keys))
            earlier = len(set(keys) - new.keys() - self._said.keys())
            with row_bar("judging", distinct, "responses", "judged") as bar:
                bar.skip(distinct - len(new), earlier)
                waiting = list(new)
                for start in range(0, len(waiting), SEGMENT):
                    segment = waiting[start : start + SEGMENT]
                    try:
                        verdicts = dict(
                            enumerate(self.judge([new[key] for key in segment], bar.update))
                        )
                    except PartialVerdicts as stopped:
                        record.append(self._lines(segment, new, stopped.finished))
                        raise
                    record.append(self._lines(segment, new, verdicts))
            for key in keys:
                self._said[key] = _verdict(record.finished[key], self.path)
        return [self._said[key] for key in keys]

    def notes(self) -> list[str]:
        """How many replies could not be read, and how far several models agreed."""
        verdicts = list(self._said.values())
        if not verdicts:
            return []
        failed = sum(verdict.label is None for verdict in verdicts)
        share = failed / len(verdicts)
        notes = [
            f"judge {self.judge.id}: {failed} of {len(verdicts)} verdicts ({share:.1%}) could not "
            "be read and are left out"
        ]
        voted = [verdict.votes for verdict in verdicts if len(verdict.votes) > 1]
        whole = [[str(v) for v in votes.values()] for votes in voted if None not in votes.values()]
        if whole:
            kappa = fleiss_kappa(whole)
            shown = "undefined (one label only)" if math.isnan(kappa) else f"{kappa:.3f}"
            notes.append(
                f"judge {self.judge.id}: Fleiss' kappa {shown} between "
                f"{len(whole[0])} models (n = {len(whole)} responses that all of them labelled)"
            )
        return notes

    def _key(self, said: JudgeInput) -> str:
        """Names all that a verdict depends on, and nothing else: a judge of text is not asked twice
        because a picture is at hand in the sweep and not afterwards."""
        example = said.example
        if id(example) not in self._prompt_hashes:
            known = [
                example.dataset,
                example.query,
                example.safety,
                sorted(example.metadata.items()),
                fingerprint(example) if self.pictures else None,
            ]
            self._prompt_hashes[id(example)] = (example, json.dumps(known))
        whole = json.dumps([self.judge.id, self._prompt_hashes[id(example)][1], said.response])
        return hashlib.sha256(whole.encode()).hexdigest()[:24]

    def _lines(
        self, keys: Sequence[str], said: Mapping[str, JudgeInput], verdicts: Mapping[int, Verdict]
    ) -> list[dict[str, Any]]:
        return [self._line(keys[k], said[keys[k]], one) for k, one in verdicts.items()]

    def _line(self, key: str, said: JudgeInput, verdict: Verdict) -> dict[str, Any]:
        return {
            "row": key,
            "judge": self.judge.id,
            "example": said.example.id,
            "response": said.response,
            "label": verdict.label,
            "votes": dict(verdict.votes),
            "replies": dict(verdict.replies),
        }


def _verdict(line: Record, path: Path) -> Verdict:
    label, replies, votes = line.get("label"), line.get("replies", {}), line.get("votes", {})
    if "label" not in line or not isinstance(replies, dict) or not isinstance(votes, dict):
        raise CalibError(
            f"{path}: row {line['row']} is no verdict. The file was changed by something other "
            "than calib. Delete that line; the response is then judged again."
        )
    return Verdict(None if label is None else checked_label(label), replies, votes)


def certain(judge: Judge) -> Callable[[Example, str], bool] | None:
    """Whether the label of a response that begins so is certain; None where only the whole response
    can be judged."""
    if not isinstance(judge, RuleBased):
        return None
    settled, exact = judge.is_final, judge.id == "rules"

    def is_certain(example: Example, response: str) -> bool:
        if example.dataset in SAFETY_DATASETS:
            return settled(example, response)
        if "kind" in example.metadata:  # "The answer is no" begins like neither answer
            return False
        said = " ".join(response.split()).casefold()
        return exact and not (example.answer or "").casefold().startswith(said)

    return is_certain


@dataclass(frozen=True)
class LabelledRow:
    """The id of a row with its example, setting and label."""

    row: str
    example: str
    method: str
    layer: int | None
    strength: float
    label: str | None = None
    """None for a question, and for a response that has no verdict."""


def judge_rows(rows: Sequence[PlannedRow], record: RowStore, judging: Judging) -> list[Judged]:
    """Judge planned rows: queries get a label, questions are marked right or wrong."""
    labelled = [
        LabelledRow(
            row.id, row.example.id, row.setting.method, row.setting.layer, row.setting.strength
        )
        for row in rows
    ]
    records = [record.finished[row.id] for row in rows]
    return judge_responses(labelled, [row.example for row in rows], records, judging)


def judge_responses(
    rows: Sequence[LabelledRow],
    examples: Sequence[Example],
    records: Sequence[Record],
    judging: Judging,
) -> list[Judged]:
    """Judge recorded responses; ``rows``, ``examples`` and ``records`` correspond.

    A response that the provider of a remote model blocked is labelled so without a judge.
    """
    queries = [k for k, example in enumerate(examples) if example.dataset in SAFETY_DATASETS]
    to_judge = [k for k in queries if records[k].get("finish") != "blocked"]
    verdicts = judging([JudgeInput(examples[k], records[k]["response"]) for k in to_judge])
    labels: dict[int, str | None] = dict.fromkeys(queries, "blocked")
    labels |= {k: verdict.label for k, verdict in zip(to_judge, verdicts, strict=True)}
    given = [labels.get(k) for k in range(len(rows))]
    return judged_of(rows, examples, records, given, judging.exact)


def judged_of(
    rows: Sequence[LabelledRow],
    examples: Sequence[Example],
    records: Sequence[Record],
    labels: Sequence[str | None],
    exact: bool,
) -> list[Judged]:
    """Recorded responses with their ``labels``, as scoring takes them; all correspond.

    ``exact`` says that the judge knows the mini world's sentences, so that its questions are
    compared word by word. Raises CalibError for an unknown label.
    """
    judged = []
    for row, example, record, label in zip(rows, examples, records, labels, strict=True):
        is_query, response = example.dataset in SAFETY_DATASETS, record["response"]
        judged.append(
            Judged(
                example_id=example.id,
                pair=example.pair,
                dataset=example.dataset,
                variant=example.variant,
                category=example.category,
                split=example.split,
                safety=example.safety,
                method=row.method,
                layer=row.layer,
                strength=row.strength,
                label=checked_label(label) if is_query and label is not None else None,
                correct=None if is_query else is_correct_answer(example, response, exact),
                kl=record["kl"] if example.dataset == "utility" else None,
                unread=parse_answer(example, response) is None
                if "kind" in example.metadata
                else None,
                empty=not response.strip(),
            )
        )
    return judged


def write_labels(path: Path, rows: Sequence[str], judged: Sequence[Judged], judge: str) -> None:
    """Write one line of JSON per row id: example, setting, label and the judge that gave it."""
    lines = [
        json.dumps(
            {
                "row": row,
                "example": response.example_id,
                "method": response.method,
                "layer": response.layer,
                "strength": response.strength,
                "label": response.label,
                "correct": response.correct,
                "judge": judge,
            }
        )
        for row, response in zip(rows, judged, strict=True)
    ]
    write_atomically(path, "".join(line + "\n" for line in lines))


_NUMBER = int | float
_LABELLED = {
    **dict.fromkeys(("row", "example", "method", "judge"), str),
    "layer": int | None,
    "strength": _NUMBER,
    "label": str | None,
}


def read_labels(path: Path) -> tuple[list[LabelledRow], str]:
    """The rows of labels.jsonl, and the id of the judge. Raises CalibError for a damaged file."""
    lines = read_lines(path, _LABELLED)
    names = ("row", "example", "method", "layer", "strength", "label")
    rows = [LabelledRow(*(line[name] for name in names)) for line in lines]
    return [replace(row, strength=float(row.strength)) for row in rows], lines[0]["judge"]
