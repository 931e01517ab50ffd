"""Judge the responses of a sweep as it goes, and keep what a costly judge says."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.data.example import Example, fingerprint
from calib.data.splits import SAFETY_DATASETS
from calib.judges.judge import Judge, JudgeInput, PartialVerdicts, RuleBased, Verdict
from calib.runs.planning import PlannedRow
from calib.runs.row_store import Record, RowStore
from calib.runs.run_files import UNANSWERED, LabelledRow, is_cut_thought, judged_of
from calib.scoring.agreement import fleiss_kappa
from calib.scoring.judged import Judged, checked_label
from calib.util.errors import CalibError
from calib.util.progress import row_bar
from calib.util.thoughts import after_thoughts, settled_beginning

VERDICTS_FILE = "verdicts.jsonl"
SEGMENT = 64
"""Costly verdicts are recorded after this many."""


class Judging:
    """A judge with a record of its verdicts, if they are costly."""

    def __init__(self, judge: Judge, folder: Path, pictures: bool = False) -> None:
        """``folder`` holds the verdicts of all judges of a run; ``pictures`` is whether the judge
        looks at pictures, so that a verdict holds for the same picture only."""
        self.judge, self.path, self.pictures = judge, folder / VERDICTS_FILE, pictures
        self._verdicts: dict[str, Verdict] = {}
        self._prompt_hashes: dict[int, tuple[Example, str]] = {}  # by id(); holds the example alive

    @property
    def exact(self) -> bool:
        """Whether the judge knows the mini world's sentences."""
        return self.judge.id == "rules"

    def __call__(self, inputs: Sequence[JudgeInput]) -> list[Verdict]:
        """A verdict on each response.

        Recorded verdicts are reused. A reply that could not be read by an earlier process is
        requested once more. Raises CalibError when the judge is unreachable or the verdicts cannot
        be written; recorded verdicts are kept.
        """
        if not self.judge.costly:
            return self.judge(inputs)
        keys = [self._key(judge_input) for judge_input in inputs]
        with RowStore.open(self.path) as store:
            known = {key for key, line in store.finished.items() if line.get("label") is not None}
            known |= self._verdicts.keys()
            pairs = zip(keys, inputs, strict=True)
            new = {key: judge_input for key, judge_input in pairs if key not in known}
            distinct = len(set(keys))
            earlier = len(set(keys) - new.keys() - self._verdicts.keys())
            with row_bar("judging", distinct, "responses", "judged") as bar:
                bar.skip(distinct - len(new), earlier)
                new_keys = list(new)
                for start in range(0, len(new_keys), SEGMENT):
                    segment = new_keys[start : start + SEGMENT]
                    try:
                        verdicts = self.judge([new[key] for key in segment], bar.update)
                    except PartialVerdicts as stopped:
                        store.append(self._lines(segment, new, stopped.finished))
                        raise
                    store.append(self._lines(segment, new, dict(enumerate(verdicts))))
            for key in keys:
                self._verdicts[key] = _verdict(store.finished[key], self.path)
        return [self._verdicts[key] for key in keys]

    def notes(self) -> list[str]:
        """The share of unreadable replies, and the agreement of several judge models."""
        verdicts = list(self._verdicts.values())
        if not verdicts:
            return []
        failed = sum(verdict.label is None for verdict in verdicts)
        share = failed / len(verdicts)
        notes = [
            f"judge {self.judge.id}: {failed} of {len(verdicts)} verdicts ({share:.1%}) could not "
            "be read and are left out"
        ]
        votes = [verdict.votes.values() for verdict in verdicts if len(verdict.votes) > 1]
        complete = [[str(vote) for vote in labels] for labels in votes if None not in labels]
        if complete:
            kappa = fleiss_kappa(complete)
            value = "undefined (one label only)" if math.isnan(kappa) else f"{kappa:.3f}"
            notes.append(
                f"judge {self.judge.id}: Fleiss' kappa {value} between "
                f"{len(complete[0])} models (n = {len(complete)} responses labelled by all models)"
            )
        return notes

    def _key(self, judge_input: JudgeInput) -> str:
        """A hash of everything that a verdict depends on.

        A picture enters it only if the judge looks at pictures: a text judge's verdict is reused
        where the picture is unavailable.
        """
        example = judge_input.example
        if id(example) not in self._prompt_hashes:
            parts = [
                example.dataset,
                example.query,
                example.safety,
                sorted(example.metadata.items()),
                fingerprint(example) if self.pictures else None,
                *((turn.query, turn.response) for turn in example.demonstrations),
            ]
            self._prompt_hashes[id(example)] = (example, json.dumps(parts))
        prompt = self._prompt_hashes[id(example)][1]
        text = json.dumps([self.judge.id, prompt, after_thoughts(judge_input.response)])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def _lines(
        self, keys: Sequence[str], inputs: Mapping[str, JudgeInput], verdicts: Mapping[int, Verdict]
    ) -> list[dict[str, Any]]:
        return [
            {
                "row": keys[k],
                "judge": self.judge.id,
                "example": inputs[keys[k]].example.id,
                "response": inputs[keys[k]].response,
                "label": verdict.label,
                "votes": dict(verdict.votes),
                "replies": dict(verdict.replies),
            }
            for k, verdict in verdicts.items()
        ]


def _verdict(line: Record, path: Path) -> Verdict:
    label, replies, votes = line.get("label"), line.get("replies", {}), line.get("votes", {})
    if "label" not in line or not isinstance(replies, dict) or not isinstance(votes, dict):
        raise CalibError(
            "invalid-content",
            f"{path}: row {line['row']} is no verdict. The file was changed by another program. "
            "Delete that line; the response is then judged again.",
        )
    return Verdict(None if label is None else checked_label(label), replies, votes)


def is_final(judge: Judge) -> Callable[[Example, str], bool] | None:
    """A test of whether the label of a response is certain from its beginning; None for a judge
    that needs complete responses."""
    if not isinstance(judge, RuleBased):
        return None
    is_final_label, exact = judge.is_final, judge.id == "rules"

    def is_final_response(example: Example, response: str) -> bool:
        if example.dataset in SAFETY_DATASETS:
            return is_final_label(example, response)
        if "kind" in example.metadata:  # "The answer is" begins a right and a wrong answer alike
            return False
        beginning = " ".join(settled_beginning(response).split()).casefold()
        return exact and not (example.answer or "").casefold().startswith(beginning)

    return is_final_response


def judge_rows(rows: Sequence[PlannedRow], store: RowStore, judging: Judging) -> list[Judged]:
    """Judge planned rows: queries get a label, questions are marked right or wrong."""
    labelled = [
        LabelledRow(
            row.setting.method, row.setting.layer, row.setting.strength, row.id, row.example.id
        )
        for row in rows
    ]
    records = [store.finished[row.id] for row in rows]
    return judge_responses(labelled, [row.example for row in rows], records, judging)


def judge_responses(
    rows: Sequence[LabelledRow],
    examples: Sequence[Example],
    records: Sequence[Record],
    judging: Judging,
) -> list[Judged]:
    """Judge recorded responses; ``rows``, ``examples`` and ``records`` correspond.

    A response that the provider of a remote model blocked is labelled so without a judge, and one
    of a model whose numbers overflowed under an edit is labelled irrelevant. One that ended within
    its thought, or whose prompt was too long, has no label.

    Raises CalibError (too-few) if no response ends its thought, so that there is nothing to judge.
    """
    queries = [k for k, example in enumerate(examples) if example.dataset in SAFETY_DATASETS]
    answered = [k for k in queries if records[k].get("finish") not in UNANSWERED]
    to_judge = [k for k in answered if not is_cut_thought(records[k])]
    if answered and not to_judge:
        longest = max(records[k].get("tokens") or 0 for k in answered)
        raise CalibError(
            "too-few",
            f"none of the {len(answered)} responses (of up to {longest} tokens) ends its thought, "
            "so there is nothing to judge. Raise generation.max_new_tokens, or have the model "
            "answer without a thought where its chat template has a choice "
            "('model.chat_template_kwargs={enable_thinking: false}', in quotation marks).",
        )
    verdicts = judging([JudgeInput(examples[k], records[k]["response"]) for k in to_judge])
    given_labels = {"blocked": "blocked", "not_finite": "irrelevant"}
    labels: dict[int, str | None] = {
        k: given_labels[finish]
        for k in queries
        if (finish := records[k].get("finish")) in given_labels
    }
    labels |= {k: verdict.label for k, verdict in zip(to_judge, verdicts, strict=True)}
    given = [labels.get(k) for k in range(len(rows))]
    return judged_of(rows, examples, records, given, judging.exact)
