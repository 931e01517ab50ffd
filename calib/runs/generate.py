"""Generate the responses of planned rows and record them, segment by segment."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from calib.config.choices import Label
from calib.data.example import Example
from calib.engine.engine import Engine
from calib.engine.request import Request, Response, StreamingEngine
from calib.interventions.contrasts import JudgedAnswer
from calib.interventions.intervention import BASELINE
from calib.runs.engines import AnyEngine
from calib.runs.labels.judging import Judging, judge_rows
from calib.runs.planning import PlannedRow, Planner
from calib.runs.row_store import Record, RowStore
from calib.runs.run_files import UNANSWERED
from calib.runs.shards import ShardRecords
from calib.scoring.judged import is_safe_response
from calib.util.errors import CalibError
from calib.util.progress import Step, row_bar
from calib.util.thoughts import final_answer

SEGMENT = 4
"""Rows of a segment, as a multiple of the rows of a batch: large enough that the last batches,
which are not full, cost little. An interrupted run generates its current segment again."""

PROMPTS = 256
"""Most prompts in a segment, whose image features are in memory at the same time."""

Others = Literal["make", "await", "leave"]

IsFinal = Callable[[Example, str], bool]
"""Whether the label of a response to the example is certain from its beginning."""


def generate(
    planner: Planner,
    rows: Sequence[PlannedRow],
    store: RowStore,
    is_final: IsFinal | None = None,
    progress: Step | None = None,
    others: Others = "make",
) -> list[PlannedRow]:
    """Generate the rows that ``store`` lacks and record them, prompt flows to their end.

    Returns, for each row, the step of its prompt flow whose response is the method's; the row
    itself where there is one step. Segments depend on ``rows`` alone and are generated completely
    or not at all, so that an interrupted and resumed run gives the same bytes as an undisturbed
    one. Rows of a streaming engine are recorded one by one as responses arrive. ``progress`` counts
    distinct rows, and further steps of prompt flows once they are known.

    Rows that other shards have recorded are taken from there. ``others`` is what a shard does about
    segments of the others: it may make them too, await their records, or leave them out.

    Raises CalibError when logits are not finite, memory is too small for a single row, an endpoint
    fails, or the rows cannot be written. Recorded segments (rows, of a remote model) are kept.
    """
    generating = _Generating(planner.engine, store, progress, others)
    steps: dict[int, list[PlannedRow]] = {
        k: [row] for k, row in enumerate(rows) if row.may_continue
    }
    if progress is not None:
        progress.may_grow = bool(steps)
    generating.record(rows, is_final)
    final = list(rows)
    open_rows = list(steps)
    # A provider's block ends a prompt flow, and is its response; so does a prompt that is too long.
    while open_rows := [
        k for k in open_rows if store.finished[steps[k][-1].id]["finish"] not in UNANSWERED
    ]:
        responses = [store.finished[steps[k][-1].id]["response"] for k in open_rows]
        following = planner.next_steps([steps[k][-1] for k in open_rows], responses)
        continuing = []
        for k, step in zip(open_rows, following, strict=True):
            if isinstance(step, int):
                final[k] = steps[k][step]
            else:
                steps[k].append(step)
                final[k] = step
                continuing.append(k)
        open_rows = continuing
        further = [steps[k][-1] for k in open_rows]
        if progress is not None and further:
            progress.extend(len({row.id for row in further}))
        generating.record(further, None)
    if progress is not None:
        progress.may_grow = False
    return final


@dataclass
class _Generating:
    """What one call of ``generate`` makes rows with."""

    engine: AnyEngine
    store: RowStore
    progress: Step | None
    others: Others

    @property
    def shards(self) -> ShardRecords | None:
        return self.store.shards

    def record(self, rows: Sequence[PlannedRow], is_final: IsFinal | None) -> None:
        """Record the rows that the store lacks, segment by segment."""
        if self.shards is not None:
            self.shards.refresh()
        if isinstance(self.engine, StreamingEngine):
            if self.progress is not None:
                self.progress.expect_tokens(lambda: "waiting for the first response")
            self._record_streamed(self.engine, rows, is_final)
            return
        if self.progress is not None:
            self.progress.expect_tokens(_Reading(self.engine))
        segments = list(_segments(rows, SEGMENT * self.engine.batch_rows))
        cached = [all(row.id in self.store.finished for row in segment) for segment in segments]
        # Cached segments are counted before the first one is generated, so that they do not enter
        # the estimate of the time left.
        pairs = list(enumerate(zip(segments, cached, strict=True)))
        self._skip([row for _, (segment, is_cached) in pairs if is_cached for row in segment])
        of_others = []
        for number, (segment, is_cached) in pairs:
            if is_cached or self._take(segment):
                continue
            if self._is_of_another_shard(number):
                of_others.append(segment)
                continue
            requests = [_request(row, is_final) for row in segment]
            on_tokens = self.progress.count_tokens if self.progress is not None else None
            responses = self.engine.answer(requests, lambda: self._advance(1), on_tokens)
            new = [
                (row, response)
                for row, response in zip(segment, responses, strict=True)
                if row.id not in self.store.finished
            ]
            self.store.append([_record(row, response) for row, response in new])
        for segment in of_others if self.others == "await" else ():
            self._await(segment)

    def _record_streamed(
        self, engine: StreamingEngine, rows: Sequence[PlannedRow], is_final: IsFinal | None
    ) -> None:
        distinct = {row.id: row for row in rows}
        self._skip([row for row in distinct.values() if row.id in self.store.finished])
        absent = [row for row in distinct.values() if row.id not in self.store.finished]
        numbers = {row: number for number, row in enumerate(distinct)}
        missing = [row for row in absent if not self._take([row])]
        own = [row for row in missing if not self._is_of_another_shard(numbers[row.id])]
        with closing(engine.stream([_request(row, is_final) for row in own])) as batches:
            for batch in batches:
                self.store.append([_record(own[index], response) for index, response in batch])
                if self.progress is not None:
                    self.progress.count_tokens(sum(len(response.tokens) for _, response in batch))
                self._advance(len(batch))
        for row in missing if self.others == "await" else ():
            if self._is_of_another_shard(numbers[row.id]):
                self._await([row])

    def _is_of_another_shard(self, number: int) -> bool:
        shard = self.shards.own if self.shards is not None and self.others != "make" else None
        return shard is not None and not shard.has(number)

    def _take(self, segment: Sequence[PlannedRow]) -> bool:
        """Take the rows of a segment from the records of shards; whether all of them are there."""
        if self.shards is None:
            return False
        records = self.shards.find([row.id for row in segment], self.store.finished)
        if records is not None:
            self._skip(segment)
            self._keep(records)
        return records is not None

    def _await(self, segment: Sequence[PlannedRow]) -> None:
        assert self.shards is not None
        self._keep(self.shards.await_rows([row.id for row in segment], self.store.finished))
        self._skip(segment)

    def _keep(self, records: Sequence[Record]) -> None:
        assert self.shards is not None
        if self.shards.own is None:
            self.store.append(records)
        else:
            self.store.remember(records)

    def _advance(self, count: int) -> None:
        if self.progress is not None:
            self.progress.update(count)

    def _skip(self, rows: Sequence[PlannedRow]) -> None:
        if self.progress is not None and rows:
            self.progress.skip(len(rows), sum(row.id in self.store.before for row in rows))


class _Reading:
    """The prompt tokens that an engine has read since this object was made, in words."""

    def __init__(self, engine: Engine) -> None:
        self.stats, self.layers = engine.stats, engine.vlm.num_layers
        self.before = self.stats.prefill_token_layers

    def __call__(self) -> str:
        read = (self.stats.prefill_token_layers - self.before) // self.layers
        return f"reading prompts: {read:,} tokens" if read else "reading prompts"


def _request(row: PlannedRow, is_final: IsFinal | None) -> Request:
    def ends(response: str) -> bool:
        return is_final is not None and is_final(row.example, response)

    stop = ends if is_final and not row.may_continue else None
    return Request(row.prompt, row.edits, int(row.id[:12], 16), stop, row.reference)


def _segments(rows: Sequence[PlannedRow], least: int) -> Iterator[list[PlannedRow]]:
    """Distinct rows in segments of ``least`` rows or more, or of PROMPTS prompts.

    Prompts of similar length are together; the rows of a prompt are adjacent and in one segment.
    """
    groups: dict[str, dict[str, PlannedRow]] = {}
    for row in rows:
        groups.setdefault(row.prompt_hash, {}).setdefault(row.id, row)
    lengths = {key: _length(next(iter(group.values())).prompt) for key, group in groups.items()}
    segment: list[PlannedRow] = []
    prompts = 0
    for key in sorted(groups, key=lambda key: (*lengths[key], key)):
        segment += groups[key].values()
        prompts += 1
        if len(segment) >= least or prompts >= PROMPTS:
            yield segment
            segment, prompts = [], 0
    if segment:
        yield segment


def _length(prompt: Example) -> tuple[int, int]:
    """Number of pictures and of characters in a prompt, demonstrations included."""
    texts = [prompt.system or "", prompt.query, prompt.response_prefix]
    texts += [text for turn in prompt.demonstrations for text in (turn.query, turn.response)]
    pictures = sum(len(turn.pictures) for turn in prompt.demonstrations)
    return pictures + len(prompt.pictures), sum(map(len, texts))


def _record(row: PlannedRow, response: Response) -> Record:
    setting = row.setting
    assert response.kl is not None or response.remote is not None, "a sweep measures KL"
    if response.finish == "not_finite" and not row.edits:
        raise CalibError(
            "not-finite",
            f"the model's output is not finite for example '{row.example.id}' under "
            f"{setting.method}, which edits no activations here. Use a wider type "
            "(model.dtype=float32), and check the weights. Recorded rows are kept.",
        )
    return {
        "row": row.id,
        "example": row.example.id,
        "dataset": row.example.dataset,
        "split": row.example.split,
        "query": row.prompt.query,
        "system": row.prompt.system,
        "demonstrations": len(row.prompt.demonstrations),
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
        "kl": _rounded(response, response.kl),
        "kl_base": _rounded(response, response.kl_base),
        **(response.remote or {}),
    }


def _rounded(response: Response, kl: float | None) -> float | None:
    """A KL as rows have it; None where it was not measured, or numbers overflowed at the first
    token."""
    overflowed = response.finish == "not_finite" and not response.tokens
    return None if kl is None or overflowed or not isfinite(kl) else round(kl, 6) + 0.0


@dataclass
class BaselineAnswers:
    """Answers of the uncalibrated model, for methods that are fitted on them; recorded like all
    other rows."""

    planner: Planner
    store: RowStore
    judging: Judging

    def __call__(
        self, examples: Sequence[Example], purpose: str, judged: bool = True
    ) -> list[JudgedAnswer]:
        """The answer to each example without its thoughts, judged if ``judged``; ``purpose`` names
        the progress bar."""
        rows = self.planner.rows(examples, [BASELINE])
        with row_bar(purpose, len({row.id for row in rows})) as bar:
            rows = generate(self.planner, rows, self.store, None, bar)
        texts = [final_answer(self.store.finished[row.id]["response"]) for row in rows]
        if not judged:
            return [JudgedAnswer(text, None) for text in texts]
        labels = [response.label for response in judge_rows(rows, self.store, self.judging)]
        return [
            JudgedAnswer(text, _refused(label), label)
            for text, label in zip(texts, labels, strict=True)
        ]


def _refused(label: Label | None) -> bool | None:
    """True for a refusal or a safe completion, False for an answer, None for other labels."""
    if label is None:
        return None
    return True if is_safe_response(label) else False if label == "answer" else None
