"""Answer the rows of a sweep in segments, each finished segment safe on the disk.

A row is (example, setting). Its id hashes everything its answer depends on, so a row that is in the
record is never computed again, and rows of one record may serve several methods.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calib.data.example import Example, fingerprint
from calib.engine.decoding import Asked, Response
from calib.engine.edit import Edits
from calib.engine.generate import Engine
from calib.errors import CalibError
from calib.runs.record import Record, Rows
from calib.settings.setting import Dialogue, Setting

SEGMENT = 4
"""A segment has this many times the rows in flight: large enough that its end, where fewer and
fewer rows fly, costs little; a stopped run does the segment it was in again."""

PROMPTS = 256
"""Most prompts in a segment, whose image features are in memory together."""

Certain = Callable[[Example, str], bool]
"""Whether the label of a response that begins so is certain."""


@dataclass(frozen=True)
class Row:
    """One example under one setting, as it is asked."""

    id: str
    example: Example
    setting: Setting
    shown: Example
    """What the model sees; the example itself unless a dialogue changes it."""
    edits: Edits
    looks: str
    """Fingerprint of what is shown."""
    base: Example | None = None
    """What KL is measured against where something else is shown."""
    said: tuple[str, ...] = ()
    """What was answered in the earlier steps of its dialogue."""

    @property
    def open(self) -> bool:
        """Whether its dialogue may go on after this step."""
        dialogue = self.setting.change.dialogue
        return dialogue is not None and dialogue.several


class Planner:
    """Makes rows. Examples that look alike are shown as one object, so that they are read once."""

    def __init__(self, engine: Engine, cut_by: str = "") -> None:
        """``cut_by`` names the judge that ends responses early, if one does."""
        self.engine = engine
        self.how = engine.decoding.identity
        self.cut = f"/cut by {cut_by}" if cut_by else ""
        self._looks: dict[int, tuple[Example, str]] = {}  # by id(); holds the example alive
        self._alike: dict[str, Example] = {}

    def rows(self, examples: Sequence[Example], settings: Sequence[Setting]) -> list[Row]:
        """Every example under every setting; settings of one example stand together."""
        columns = []
        first: dict[int, list[Example]] = {}  # by dialogue
        for setting in settings:
            dialogue = setting.change.dialogue
            if dialogue is None:
                shown = list(examples)
            else:
                if id(dialogue) not in first:
                    first[id(dialogue)] = [_first(dialogue, example) for example in examples]
                shown = first[id(dialogue)]
            columns.append(self._asked(examples, [setting] * len(examples), shown))
        return [row for rows in zip(*columns, strict=True) for row in rows]

    def next_step(self, rows: Sequence[Row], said: Sequence[str]) -> list[Row | int]:
        """The next step of each row's dialogue, or the place of the response that counts."""
        found: list[Row | int] = []
        for row, text in zip(rows, said, strict=True):
            dialogue = row.setting.change.dialogue
            assert dialogue is not None
            so_far = (*row.said, text)
            step = dialogue.next(row.example, so_far)
            found.append(step if isinstance(step, int) else replace(row, shown=step, said=so_far))
        going = [row for row in found if isinstance(row, Row)]
        asked = iter(
            self._asked(
                [row.example for row in going],
                [row.setting for row in going],
                [row.shown for row in going],
                [row.said for row in going],
            )
        )
        return [step if isinstance(step, int) else next(asked) for step in found]

    def _asked(
        self,
        examples: Sequence[Example],
        settings: Sequence[Setting],
        shown: Sequence[Example],
        said: Sequence[tuple[str, ...]] = (),
    ) -> list[Row]:
        seen = [self._same(one) for one in shown]
        edits = _edits(settings, [one for one, _ in seen])
        rows = []
        for k, (example, setting) in enumerate(zip(examples, settings, strict=True)):
            one, looks = seen[k]
            plain, own_looks = self._same(example)
            base = None if looks == own_looks else plain
            row = Row("", example, setting, one, edits[k], looks, base, said[k] if said else ())
            # What counts of a dialogue of several steps is known at its end: none of it is cut.
            parts = [self.engine.vlm.fingerprint, looks, self.how + ("" if row.open else self.cut)]
            parts += [own_looks] if base else []
            parts += [",".join(edit.identity for edit in edits[k])]
            digest = hashlib.sha256("/".join(parts).encode()).hexdigest()
            rows.append(replace(row, id=digest[:24]))
        return rows

    def _same(self, example: Example) -> tuple[Example, str]:
        """The first example that looks like this one, and what it looks like."""
        if id(example) not in self._looks:
            self._looks[id(example)] = (example, fingerprint(example))
        looks = self._looks[id(example)][1]
        return self._alike.setdefault(looks, example), looks


def _first(dialogue: Dialogue, example: Example) -> Example:
    shown = dialogue.next(example, ())
    assert isinstance(shown, Example), "a dialogue begins with a question"
    return shown


def _edits(settings: Sequence[Setting], shown: Sequence[Example]) -> list[Edits]:
    """The edits of rows; each setting is asked once for all of its examples."""
    found: list[Edits] = [()] * len(shown)
    by_setting: dict[int, list[int]] = {}
    for k, setting in enumerate(settings):
        by_setting.setdefault(id(setting), []).append(k)
    for places in by_setting.values():
        change = settings[places[0]].change
        for k, edits in zip(places, change.edits_for([shown[k] for k in places]), strict=True):
            found[k] = edits
    return found


def plan_rows(
    engine: Engine, examples: Sequence[Example], settings: Sequence[Setting], cut_by: str = ""
) -> list[Row]:
    """Every example under every setting; settings of one example stand together."""
    return Planner(engine, cut_by).rows(examples, settings)


def answer(
    planner: Planner,
    rows: Sequence[Row],
    record: Rows,
    certain: Certain | None = None,
    progress: Any = None,
) -> list[Row]:
    """Answer the rows that ``record`` does not hold and append them to it, segment by segment.

    Returns the row of the response that counts for each: itself, or another step of its dialogue.
    The plan of segments depends on ``rows`` alone and a segment is computed whole or not at all, so
    an interrupted and a resumed run give the same bytes as an undisturbed one. ``progress`` has an
    ``update(n)`` method and is told of every row, done now or before.

    Raises CalibError when a row's logits are not finite, memory is too small for a single row, or
    the record cannot be written; finished segments are safe in all cases.
    """
    _answer(planner.engine, rows, record, certain, progress)
    counting = list(rows)
    steps: dict[int, list[Row]] = {k: [row] for k, row in enumerate(rows) if row.open}
    going = list(steps)
    while going:
        said = [record.finished[steps[k][-1].id]["response"] for k in going]
        found = planner.next_step([steps[k][-1] for k in going], said)
        still = []
        for k, step in zip(going, found, strict=True):
            if isinstance(step, int):
                counting[k] = steps[k][step]
            else:
                steps[k].append(step)
                still.append(k)
        going = still
        _answer(planner.engine, [steps[k][-1] for k in going], record, None, None)
    return counting


def _answer(
    engine: Engine,
    rows: Sequence[Row],
    record: Rows,
    certain: Certain | None,
    progress: Any,
) -> None:
    def tell(count: int) -> None:
        if progress is not None:
            progress.update(count)

    for segment in _segments(rows, SEGMENT * engine.rows_in_flight):
        wanted = [row for row in segment if row.id not in record.finished]
        if wanted:
            asked = [_asked(row, certain) for row in segment]
            responses = engine.answer(asked, lambda: tell(1))
            answered = dict(zip((row.id for row in segment), responses, strict=True))
            record.append([_record(row, answered[row.id]) for row in wanted])
        else:
            tell(len(segment))


def _asked(row: Row, certain: Certain | None) -> Asked:
    def ends(text: str) -> bool:
        return certain is not None and certain(row.example, text)

    seed = int(row.id[:12], 16)
    return Asked(row.shown, row.edits, seed, ends if certain and not row.open else None, row.base)


def _segments(rows: Sequence[Row], least: int) -> Iterator[list[Row]]:
    """Distinct rows in segments of ``least`` or more, fewer where that would be too many prompts:
    prompts of like length together, a prompt's rows side by side and never in two segments."""
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(row.looks, {}).setdefault(row.id, row)
    lengths = {looks: _length(next(iter(some.values())).shown) for looks, some in groups.items()}
    segment: list[Row] = []
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
    turns = [example.system or "", example.query, example.begun]
    turns += [text for turn in example.demonstrations for text in (turn.query, turn.response)]
    pictures = sum(turn.picture is not None for turn in example.demonstrations)
    return pictures + (example.picture is not None), sum(map(len, turns))


def _record(row: Row, response: Response) -> Record:
    setting = row.setting
    assert response.kl is not None, "a sweep measures it"
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
        "kl": round(response.kl, 6) + 0.0,
    }
