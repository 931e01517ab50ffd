"""Answer the rows of a sweep in segments, each finished segment safe on the disk.

A row is (example, setting). Its id hashes everything its answer depends on, so a row that is in the
record is never computed again, and rows of one record may serve several methods.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from calib.data.example import Example, fingerprint
from calib.engine.decoding import Asked, Response
from calib.engine.generate import Engine
from calib.errors import CalibError
from calib.methods.setting import Setting
from calib.runs.record import Record, Rows

SEGMENT = 4
"""A segment has this many times the rows in flight: large enough that its end, where fewer and
fewer rows fly, costs little; a stopped run does the segment it was in again."""

PROMPTS = 256
"""Most prompts in a segment, whose image features are in memory together."""

Certain = Callable[[Example, str], bool]
"""Whether the label of a response that begins so is certain."""


@dataclass(frozen=True)
class Row:
    """One example under one setting."""

    id: str
    example: Example
    setting: Setting


def plan_rows(
    engine: Engine, examples: Sequence[Example], settings: Sequence[Setting], cut_by: str = ""
) -> list[Row]:
    """Every example under every setting, with ids; settings of one example stand together.

    ``cut_by`` names the judge that ends responses early, if one does.
    """
    how = engine.decoding.identity + (f"/cut by {cut_by}" if cut_by else "")
    identities = [",".join(edit.identity for edit in setting.edits) for setting in settings]
    rows = []
    for example in examples:
        seen = f"{engine.vlm.fingerprint}/{fingerprint(example)}/{how}"
        for setting, identity in zip(settings, identities, strict=True):
            digest = hashlib.sha256(f"{seen}/{identity}".encode()).hexdigest()
            rows.append(Row(digest[:24], example, setting))
    return rows


def answer(
    engine: Engine,
    rows: Sequence[Row],
    record: Rows,
    certain: Certain | None = None,
    progress: Any = None,
) -> None:
    """Answer the rows that ``record`` does not hold and append them to it, segment by segment.

    The plan of segments depends on ``rows`` alone and a segment is computed whole or not at all, so
    an interrupted and a resumed run give the same bytes as an undisturbed one. ``progress`` has an
    ``update(n)`` method and is told of every row, done now or before.

    Raises CalibError when a row's logits are not finite, memory is too small for a single row, or
    the record cannot be written; finished segments are safe in all cases.
    """

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
    return Asked(row.example, row.setting.edits, seed, ends if certain else None)


def _segments(rows: Sequence[Row], least: int) -> Iterator[list[Row]]:
    """Distinct rows in segments of ``least`` or more, fewer where that would be too many prompts:
    prompts of like length together, a prompt's rows side by side and never in two segments."""
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(row.example.id, {}).setdefault(row.id, row)
    # Two examples may look the same to the model; then one of them answers for both.
    planned: set[str] = set()
    segment: list[Row] = []
    prompts = 0
    for name in sorted(groups, key=lambda name: _length(next(iter(groups[name].values())).example)):
        new = [row for row in groups[name].values() if row.id not in planned]
        planned.update(row.id for row in new)
        segment += new
        prompts += 1
        if len(segment) >= least or (segment and prompts >= PROMPTS):
            yield segment
            segment, prompts = [], 0
    if segment:
        yield segment


def _length(example: Example) -> tuple[int, int, str]:
    turns = [example.system or "", example.query]
    turns += [text for turn in example.demonstrations for text in (turn.query, turn.response)]
    pictures = sum(turn.picture is not None for turn in example.demonstrations)
    return pictures + (example.picture is not None), sum(map(len, turns)), example.id


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
        "query": row.example.query,
        "edits": [
            {"layer": e.layer, "operator": e.operator.name, "positions": e.positions}
            for e in setting.edits
        ],
        "strength": setting.strength,
        "response": response.text,
        "tokens": len(response.tokens),
        "finish": response.finish,
        "kl": round(response.kl, 6) + 0.0,
    }
