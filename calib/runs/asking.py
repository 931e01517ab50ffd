"""Ask the uncalibrated model, for methods that are fitted to what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from calib.data.example import Example
from calib.progress import row_bar
from calib.runs.answering import answer
from calib.runs.judging import Judging, judge_rows
from calib.runs.planning import Planner
from calib.runs.record import Rows
from calib.scoring.labels import Label, is_safe_response
from calib.settings.contrasts import Answer
from calib.settings.setting import BASELINE


@dataclass
class Asking:
    """What the uncalibrated model answers, recorded like all other rows."""

    planner: Planner
    record: Rows
    judging: Judging

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[Answer]:
        rows = self.planner.rows(examples, [BASELINE])
        with row_bar(purpose, len({row.id for row in rows})) as bar:
            rows = answer(self.planner, rows, self.record, None, bar)
        texts = [self.record.finished[row.id]["response"] for row in rows]
        if not judged:
            return [Answer(text, None) for text in texts]
        labels = [one.label for one in judge_rows(rows, self.record, self.judging)]
        return [Answer(text, _refused(label)) for text, label in zip(texts, labels, strict=True)]


def _refused(label: Label | None) -> bool | None:
    if label is None:
        return None
    return True if is_safe_response(label) else False if label == "answer" else None
