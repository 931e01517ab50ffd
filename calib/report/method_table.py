"""The file methods.csv: one row per method of a run, by rank, with intervals and the verdict."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calib.report.ranking import MethodVerdict, rank_methods
from calib.report.verdict import SettingChange
from calib.runs.run import Run
from calib.scoring.intervals import Interval
from calib.util.files import csv_safe, without_control_characters, write_atomically

METHODS_FILE = "methods.csv"
_CHANGES = ("SRA", "SRA_u", "SRA_s", "warned_s", "utility", "knowledge")
COLUMNS = (
    "rank", "rank_low", "rank_high", "method", "layer", "strength", "verdict", "unclear",
    *(f"{rate}_change{end}" for rate in _CHANGES for end in ("", "_low", "_high")),
    "p_holm", "p_unadjusted", "n", "clusters", "settings_searched", "settings_tested",
    "best_of_k_by_chance", "supervision", "prompt_only", "reference", "mapping",
    "truncated", "truncated_utility",
)  # fmt: skip


def compares_methods(run: Run) -> bool:
    """Whether a run has several methods, apart from the prompt-only reference."""
    return sum(not method.reference for method in run.methods) > 1


def write_method_table(run: Run) -> dict[str, Path]:
    """Write methods.csv of a run of several methods; its path, by what it contains.

    The report links to the files that exist, so that it is written after this table.
    """
    if not compares_methods(run):
        return {}
    path = run.folder / METHODS_FILE
    write_methods(path, rank_methods(run))
    return {"methods": path}


def write_methods(path: Path, ranked: Sequence[MethodVerdict]) -> None:
    """Write the methods in the order of rank_methods; rates are shares, unknown cells are empty.

    Raises CalibError if writing fails.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    table.writerow(COLUMNS)
    for verdict in ranked:
        table.writerow(list(map(_cell, COLUMNS, _values(verdict))))
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))


def _values(verdict: MethodVerdict) -> list[Any]:
    method, change, chance = verdict.method, verdict.change, verdict.chance
    kept = method.choice.kept_baseline
    changes: list[float | None] = []
    for rate in _CHANGES:
        interval: Interval | None = None if kept else getattr(change, rate.lower())
        changes += interval[:3] if interval else (None, None, None)
    queries = change.queries
    return [
        *(verdict.rank or (None, None, None)),
        method.name, method.layer, method.tested.strength, str(verdict.effect),
        " ".join(verdict.unclear),
        *changes,
        verdict.p,
        verdict.unadjusted_p,
        len(queries.before) if queries else 0,
        len(set(queries.clusters)) if queries else 0,
        verdict.settings_searched,
        chance.settings if chance else 0,
        chance.gain if chance else None,
        verdict.supervision,
        method.prompt_only, method.reference, change.mapping,
        _share_cut(change, "SRA"), _share_cut(change, "utility"),
    ]  # fmt: skip


def _share_cut(change: SettingChange, rate: str) -> float:
    """Share of the method's responses behind a rate that were cut at max_new_tokens."""
    cut = change.cut(rate)
    return cut.rate_after if cut else 0.0


def _cell(column: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if column == "strength":
        return repr(float(value) + 0.0)
    if isinstance(value, float):
        return f"{value:z.6f}"
    return csv_safe(without_control_characters(value)) if isinstance(value, str) else str(value)
