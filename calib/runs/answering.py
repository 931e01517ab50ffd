"""Answer the rows of a sweep in batches, each finished batch safe on the disk.

A row is (example, setting). Its id hashes everything its answer depends on, so a row that is in the
record is never computed again, and rows of one record may serve several methods.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calib.data.example import Example, fingerprint
from calib.errors import CalibError
from calib.methods.setting import Setting
from calib.runs.record import Record, Rows
from calib.vlm.editing import Edit
from calib.vlm.generation import Response, generate, kl_divergence
from calib.vlm.load import VLM
from calib.vlm.prompts import read_prompt


@dataclass(frozen=True)
class Row:
    """One example under one setting."""

    id: str
    example: Example
    setting: Setting


def plan_rows(
    vlm: VLM, examples: Sequence[Example], settings: Sequence[Setting], max_new_tokens: int
) -> list[Row]:
    """Every example under every setting, with ids; settings of one example stand together."""
    identities = [_edits_identity(setting.edits) for setting in settings]
    rows = []
    for example in examples:
        seen = f"{vlm.fingerprint}/{fingerprint(example)}/{max_new_tokens}"
        for setting, identity in zip(settings, identities, strict=True):
            digest = hashlib.sha256(f"{seen}/{identity}".encode()).hexdigest()
            rows.append(Row(digest[:24], example, setting))
    return rows


def _edits_identity(edits: Iterable[Edit]) -> str:
    parts = []
    for edit in edits:
        vector = hashlib.sha256(edit.vector.float().cpu().numpy().tobytes()).hexdigest()
        parts.append(f"{edit.layer}:add:{edit.positions}:{vector}")
    return ",".join(parts)


def answer(
    vlm: VLM,
    rows: Sequence[Row],
    record: Rows,
    max_new_tokens: int,
    batch_rows: int,
    progress: Any = None,
) -> None:
    """Answer the rows that ``record`` does not hold and append them to it, batch by batch.

    The plan of batches depends on ``rows`` alone and a batch is computed whole or not at all, so an
    interrupted and a resumed run give the same bytes as an undisturbed one. ``progress`` has an
    ``update(n)`` method and is told of every row, done now or before.

    Raises CalibError when a row's logits are not finite, or the record cannot be written; finished
    batches are safe in both cases.
    """
    for batch in _batches(rows, batch_rows):
        wanted = [row for row in batch if row.id not in record.finished]
        if wanted:
            answered = _answer_batch(vlm, batch, max_new_tokens)
            record.append([answered[row.id] for row in wanted])
        if progress is not None:
            progress.update(len(batch))


def _batches(rows: Sequence[Row], batch_rows: int) -> Iterator[list[Row]]:
    """Batches of distinct rows: prompts of like length together, a prompt's rows side by side."""
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(row.example.id, {}).setdefault(row.id, row)
    # Two examples may look the same to the model; then one of them answers for both.
    planned: set[str] = set()
    batch: list[Row] = []
    for name in sorted(groups, key=lambda name: _length(next(iter(groups[name].values())).example)):
        for row in groups[name].values():
            if row.id in planned:
                continue
            planned.add(row.id)
            batch.append(row)
            if len(batch) == batch_rows:
                yield batch
                batch = []
    if batch:
        yield batch


def _length(example: Example) -> tuple[int, int, str]:
    turns = [example.system or "", example.query]
    turns += [text for turn in example.demonstrations for text in (turn.query, turn.response)]
    pictures = sum(turn.picture is not None for turn in example.demonstrations)
    return pictures + (example.picture is not None), sum(map(len, turns)), example.id


def _answer_batch(vlm: VLM, batch: Sequence[Row], max_new_tokens: int) -> dict[str, Record]:
    """The records of a batch. Every prompt in it is also answered unedited, as the base of KL."""
    examples = {row.example.id: row.example for row in batch}
    prompts = {name: read_prompt(vlm, example) for name, example in examples.items()}
    plain = {row.example.id for row in batch if not row.setting.edits}
    extra = [name for name in prompts if name not in plain]
    responses = generate(
        vlm,
        [prompts[row.example.id] for row in batch] + [prompts[name] for name in extra],
        [row.setting.edits for row in batch] + [()] * len(extra),
        max_new_tokens,
    )
    base: dict[str, torch.Tensor] = {
        name: response.first_token
        for name, response in zip(extra, responses[len(batch) :], strict=True)
    }
    for row, response in zip(batch, responses, strict=False):
        if not row.setting.edits:
            base[row.example.id] = response.first_token
    return {
        row.id: _record(row, response, base[row.example.id])
        for row, response in zip(batch, responses, strict=False)
    }


def _record(row: Row, response: Response, base: torch.Tensor) -> Record:
    if torch.isnan(response.first_token).any():  # a logit of minus infinity is a banned token
        setting = row.setting
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
            {"layer": edit.layer, "operator": "add", "positions": edit.positions}
            for edit in row.setting.edits
        ],
        "strength": row.setting.strength,
        "response": response.text,
        "tokens": response.tokens,
        "finish": response.finish,
        "kl": round(kl_divergence(response.first_token, base), 6) + 0.0,
    }
