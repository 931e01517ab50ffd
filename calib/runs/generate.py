"""Generate the responses of planned rows, segment by segment, and baseline responses for fitting.

model as responses land.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from calib.config.choices import Label
from calib.data.example import Example
from calib.engine.engine import Engine
from calib.engine.remote import RemoteEngine
from calib.engine.request import Request, Response
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.intervention import BASELINE
from calib.runs.judging import Judging, judge_rows
from calib.runs.planning import PlannedRow, Planner
from calib.runs.row_store import Record, RowStore
from calib.scoring.judged import is_safe_response
from calib.util.errors import CalibError
from calib.util.progress import Step, row_bar

SEGMENT = 4
"""A segment has this many times the rows in flight: large enough that its end, where fewer and
fewer rows fly, costs little; a stopped run does the segment it was in again."""

PROMPTS = 256
"""Most prompts in a segment, whose image features are in memory together."""

Certain = Callable[[Example, str], bool]
"""Whether the label of a response that begins so is certain."""


def answer(
    planner: Planner,
    rows: Sequence[PlannedRow],
    record: RowStore,
    certain: Certain | None = None,
    progress: Step | None = None,
) -> list[PlannedRow]:
    """Answer the rows that ``record`` does not hold and append them to it, segment by segment.

    Returns the row of the response that counts for each: itself, or another step of its dialogue.
    The plan of segments depends on ``rows`` alone and a segment is computed whole or not at all, so
    an interrupted and a resumed run give the same bytes as an undisturbed one. Rows of a remote
    model are recorded as they land, and none that is recorded is asked again. ``progress`` counts
    the distinct rows of ``rows``, and further ones, steps of dialogues, once they are known.

    Raises CalibError when a row's logits are not finite, memory is too small for a single row, an
    endpoint gives no answer, or the record cannot be written; finished segments (of a remote model
    finished rows) are safe in all cases.
    """
    _answer(planner.engine, rows, record, certain, progress)
    counting = list(rows)
    steps: dict[int, list[PlannedRow]] = {k: [row] for k, row in enumerate(rows) if row.open}
    going = list(steps)
    # A provider's block ends a dialogue, and counts as its response.
    while going := [k for k in going if record.finished[steps[k][-1].id]["finish"] != "blocked"]:
        said = [record.finished[steps[k][-1].id]["response"] for k in going]
        found = planner.next_step([steps[k][-1] for k in going], said)
        still = []
        for k, step in zip(going, found, strict=True):
            if isinstance(step, int):
                counting[k] = steps[k][step]
            else:
                steps[k].append(step)
                counting[k] = step
                still.append(k)
        going = still
        further = [steps[k][-1] for k in going]
        if progress is not None and further:
            progress.more(len({row.id for row in further}))
        _answer(planner.engine, further, record, None, progress)
    return counting


def _answer(
    engine: Engine | RemoteEngine,
    rows: Sequence[PlannedRow],
    record: RowStore,
    certain: Certain | None,
    progress: Step | None,
) -> None:
    def tell(count: int) -> None:
        if progress is not None:
            progress.update(count)

    if isinstance(engine, RemoteEngine):
        _answer_remotely(engine, rows, record, tell, progress)
        return
    segments = list(_segments(rows, SEGMENT * engine.rows_in_flight))
    done = [all(row.id in record.finished for row in segment) for segment in segments]
    # All of them before the first is answered, so that the time left is never theirs.
    whole = zip(segments, done, strict=True)
    _skip([row for segment, is_done in whole if is_done for row in segment], record, progress)
    for segment, is_done in zip(segments, done, strict=True):
        if is_done:
            continue
        asked = [_asked(row, certain) for row in segment]
        responses = engine.answer(asked, lambda: tell(1))
        answered = dict(zip((row.id for row in segment), responses, strict=True))
        wanted = [row for row in segment if row.id not in record.finished]
        record.append([_record(row, answered[row.id]) for row in wanted])


def _answer_remotely(
    engine: RemoteEngine,
    rows: Sequence[PlannedRow],
    record: RowStore,
    tell: Callable[[int], None],
    progress: Step | None,
) -> None:
    distinct = {row.id: row for row in rows}
    wanted = [row for row in distinct.values() if row.id not in record.finished]
    _skip([row for row in distinct.values() if row.id in record.finished], record, progress)
    with closing(engine.stream([_asked(row, None) for row in wanted])) as landing:
        for landed in landing:
            record.append([_record(wanted[place], response) for place, response in landed])
            tell(len(landed))


def _skip(rows: Sequence[PlannedRow], record: RowStore, progress: Step | None) -> None:
    if progress is not None and rows:
        progress.skip(len(rows), sum(row.id in record.before for row in rows))


def _asked(row: PlannedRow, certain: Certain | None) -> Request:
    def ends(text: str) -> bool:
        return certain is not None and certain(row.example, text)

    seed = int(row.id[:12], 16)
    return Request(row.shown, row.edits, seed, ends if certain and not row.open else None, row.base)


def _segments(rows: Sequence[PlannedRow], least: int) -> Iterator[list[PlannedRow]]:
    """Distinct rows in segments of ``least`` or more, fewer where that would be too many prompts:
    prompts of like length together, a prompt's rows side by side and never in two segments."""
    groups: dict[str, dict[str, PlannedRow]] = {}
    for row in rows:
        groups.setdefault(row.looks, {}).setdefault(row.id, row)
    lengths = {looks: _length(next(iter(some.values())).shown) for looks, some in groups.items()}
    segment: list[PlannedRow] = []
    prompts = 0
    for looks in sorted(groups, key=lambda looks: (*lengths[looks], looks)):
        segment += groups[looks].values()
        prompts += 1
        if len(segment) >= least or prompts >= PROMPTS:
            yield segment
            segment, prompts = [], 0
    if segment:
        yield segment


def _length(example: Example) -> tuple[int, int]:
    turns = [example.system or "", example.query, example.response_prefix]
    turns += [text for turn in example.demonstrations for text in (turn.query, turn.response)]
    pictures = sum(turn.picture is not None for turn in example.demonstrations)
    return pictures + (example.picture is not None), sum(map(len, turns))


def _record(row: PlannedRow, response: Response) -> Record:
    setting = row.setting
    assert response.kl is not None or response.remote is not None, "a sweep measures it"
    if response.finish == "not_finite":
        raise CalibError(
            f"the model's output is not finite for example '{row.example.id}' under "
            f"{setting.method} at layer {setting.layer}, strength {setting.strength:g}. Use "
            "smaller strengths or a wider type (model.dtype=float32). Finished rows are safe."
        )
    return {
        "row": row.id,
        "example": row.example.id,
        "dataset": row.example.dataset,
        "split": row.example.split,
        "query": row.shown.query,
        "system": row.shown.system,
        "demonstrations": len(row.shown.demonstrations),
        "edits": [
            {
                "layer": edit.layer,
                "site": edit.site,
                "operator": edit.operator.name,
                "positions": edit.positions,
            }
            for edit in row.edits
        ],
        "strength": setting.strength,
        "response": response.text,
        "tokens": len(response.tokens),
        "finish": response.finish,
        "kl": None if response.kl is None else round(response.kl, 6) + 0.0,
        **(response.remote or {}),
    }


@dataclass
class BaselineAnswers:
    """What the uncalibrated model answers, recorded like all other rows."""

    planner: Planner
    record: RowStore
    judging: Judging

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[JudgedAnswer]:
        rows = self.planner.rows(examples, [BASELINE])
        with row_bar(purpose, len({row.id for row in rows})) as bar:
            rows = answer(self.planner, rows, self.record, None, bar)
        texts = [self.record.finished[row.id]["response"] for row in rows]
        if not judged:
            return [JudgedAnswer(text, None) for text in texts]
        labels = [one.label for one in judge_rows(rows, self.record, self.judging)]
        return [
            JudgedAnswer(text, _refused(label)) for text, label in zip(texts, labels, strict=True)
        ]


def _refused(label: Label | None) -> bool | None:
    if label is None:
        return None
    return True if is_safe_response(label) else False if label == "answer" else None
