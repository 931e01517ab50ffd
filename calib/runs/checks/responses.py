"""Notes on the responses of a run: those that were cut, and those of a remote model; and the error
of a run without any."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from calib.models.remote import system_prompt_note
from calib.runs.row_store import RowStore
from calib.runs.run_files import EXTRACTED
from calib.util.errors import CalibError
from calib.util.listing import shortened

if TYPE_CHECKING:
    from calib.runs.run import Run

_MOST_NAMES = 4
"""Names shown of a long list."""


def length_notes(ids: Iterable[str], store: RowStore, setting: str, limit: int) -> list[str]:
    """A note that counts the responses of some rows that were cut at ``limit`` tokens, if any was.

    ``setting`` is the name of the setting with the limit. A response that generation.early_stop
    ended is not among them: its label is certain.
    """
    finishes = [store.finished[row]["finish"] for row in set(ids)]
    if not (cut := finishes.count("length")):
        return []
    return [
        f"{cut:,} of {len(finishes):,} responses were cut at {limit} tokens: what follows the cut, "
        f"such as a warning or an answer, does not count. Raise {setting} if they are not "
        "repetitive"
    ]


def overflow_notes(ids: Iterable[str], store: RowStore) -> list[str]:
    """A note that counts the rows whose edit made the model's numbers overflow, if any did."""
    rows = [store.finished[row] for row in set(ids)]
    strengths = sorted({row["strength"] for row in rows if row["finish"] == "not_finite"})
    count = sum(row["finish"] == "not_finite" for row in rows)
    if not count:
        return []
    return [
        f"numbers overflowed in {count:,} of {len(rows):,} rows (strengths "
        f"{_few([f'{strength:g}' for strength in strengths])}): results.csv has their share "
        "(overflowed) by setting. They count as wrong, and have no KL where the first token "
        "overflowed"
    ]


def remote_response_notes(store: RowStore) -> list[str]:
    """Models, token counts and blocked responses of a remote model, over all sessions of a run;
    none of a local model."""
    rows = [row for row in store.finished.values() if "model" in row]
    if not rows:
        return []
    names = sorted({str(row["model"]) for row in rows if row["model"]})
    tokens = {name: sum(row.get(name) or 0 for row in rows) for name in ("prompt_tokens", "tokens")}
    notes = [
        f"{len(rows)} rows were answered by {_few(names) or 'a model without a name'}, with "
        f"{tokens['prompt_tokens']} prompt tokens and {tokens['tokens']} response tokens as "
        "counted by the endpoint"
    ]
    if len(names) > 1:
        notes.append("more than one model answered: the rows are not all of the same model")
    notes += system_prompt_note(rows)
    blocked = [str(row.get("blocked", "")) for row in rows if row["finish"] == "blocked"]
    if blocked:
        reasons = ", ".join(sorted(set(blocked)))
        notes.append(
            f"{len(blocked)} of {len(rows)} rows were blocked by the provider ({reasons}); they "
            "are labelled blocked, without a judge"
        )
    if too_long := sum(row["finish"] == "too_long" for row in rows):
        notes.append(
            f"data.skip_long: the prompts of {too_long} of {len(rows)} rows exceed the model's "
            "context; they are left out of all rates"
        )
    cut = sum(row["finish"] == "length" and not row["response"].strip() for row in rows)
    if cut:
        notes.append(
            f"{cut} of {len(rows)} responses were cut before their first word: the limit includes "
            "hidden reasoning. Raise generation.max_new_tokens, or limit the reasoning "
            "(model.extra)"
        )
    return notes


def _few(names: list[str]) -> str:
    return ", ".join(shortened(names, _MOST_NAMES))


def require_responses(run: "Run") -> None:
    """Raise CalibError (unsupported) for a run of calib.extract, which has no responses."""
    if run.is_extraction:
        raise CalibError(
            "unsupported",
            f"'{run.folder}' is a run of calib.extract: it has a direction, and no responses to "
            "report, judge or serve. Give the folder of a run of calib.sweep. calib.plot draws "
            f"this run, and its {EXTRACTED} can be given to a sweep of method=steer "
            "(method.direction=FILE) and to calib.export (direction=FILE).",
        )
