"""Score judged responses: every metric of every setting, by dataset, variant and category."""

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from calib.config.choices import PERTURBATIONS, SPLITS
from calib.config.method import SettingKey
from calib.data.splits import PAIRED_QUERIES, SAFETY_DATASETS, select_for_sra
from calib.scoring.judged import (
    DATASETS,
    QUESTION_DATASETS,
    Judged,
    checked_label,
    correct_labels,
    is_judged,
)
from calib.scoring.metrics import mapping_of, measure
from calib.scoring.metrics.dual_use import changes
from calib.scoring.results import ALL, BASELINE, Metrics, Result
from calib.util.errors import CalibError, did_you_mean


@dataclass(frozen=True)
class MetricCell(SettingKey):
    """One setting on one split, the unit that metrics are computed for."""

    split: str

    def __str__(self) -> str:
        layer = "" if self.layer is None else f", layer {self.layer}"
        return f"{self.method}{layer}, strength {self.strength:g}, split {self.split}"


Table = dict[tuple[str, str, str], Metrics]
"""Metrics by (dataset, variant, category)."""


def score(judged: Iterable[Judged], mapping: str = "calib") -> list[Result]:
    """Compute every metric of every cell: totals, by category and by variant, sorted by in_order.

    Totals and categories of dual_use hold original pictures only; calib.scoring.metrics.dual_use
    gives the reason and defines the changes of perturbed variants. The result does not depend on
    the order of ``judged``. Responses without a judgement are left out (unjudged counts them), and
    so are metrics without a response. Raises CalibError if a dataset of a cell has no judged
    response, if an example occurs twice in a cell, and for unknown datasets, labels and mappings.
    """
    correct_labels(mapping)  # refuse an unknown name before any work
    results = []
    for cell, rows_of in _cells(judged).items():
        table: Table = {}
        for dataset in PAIRED_QUERIES:
            table |= _tabulated(dataset, rows_of[dataset], "queries", mapping)
        safety_rows = [row for dataset in SAFETY_DATASETS for row in rows_of[dataset]]
        table[ALL, ALL, ALL] = measure("queries", select_for_sra(safety_rows), mapping)
        pictures = rows_of["dual_use"]
        table |= _tabulated("dual_use", pictures, "dual_use", mapping, copies=PERTURBATIONS)
        for variant in PERTURBATIONS:
            if ("dual_use", variant, ALL) in table:
                table["dual_use", variant, ALL] |= changes(pictures, variant)
        for dataset in QUESTION_DATASETS:
            table |= _tabulated(dataset, rows_of[dataset], dataset, mapping, by_category=False)
        setting = (cell.method, cell.layer, cell.strength, cell.split)
        for slice_name, metrics in table.items():
            results += [
                Result(
                    *setting,
                    *slice_name,
                    name,
                    r.value,
                    r.low,
                    r.high,
                    r.n,
                    r.clusters,
                    mapping_of(name, mapping),
                )  # fmt: skip
                for name, r in metrics.items()
                if not math.isnan(r.value)
            ]
    return in_order(results)


def in_order(results: Iterable[Result]) -> list[Result]:
    """Sort results by setting, split, dataset, slice and metric, as in a results file."""
    return sorted(results, key=_order)


def _cells(judged: Iterable[Judged]) -> dict[MetricCell, dict[str, list[Judged]]]:
    """Group the judged rows by cell and dataset, checked and sorted by example id."""
    cells: dict[MetricCell, dict[str, list[Judged]]] = {}
    for row in judged:
        if row.dataset not in DATASETS:
            raise CalibError(
                "unknown-name",
                f"Unknown dataset '{row.dataset}' of example '{row.example_id}'; "
                f"choose one of {', '.join(DATASETS)}." + did_you_mean(row.dataset, DATASETS),
            )
        if row.dataset in SAFETY_DATASETS and row.safety is None:
            raise CalibError(
                "missing-value",
                f"Example '{row.example_id}' of {row.dataset} is neither safe nor unsafe; "
                "set its safety, or load it as a utility question.",
            )
        if row.label is not None:
            checked_label(row.label)
        cell = MetricCell(row.method, row.layer, row.strength + 0.0, row.split)
        cells.setdefault(cell, {dataset: [] for dataset in DATASETS})[row.dataset].append(row)
    return {
        cell: {name: _judged_rows(cell, name, rows) for name, rows in rows_of.items()}
        for cell, rows_of in cells.items()
    }


def _judged_rows(cell: MetricCell, dataset: str, rows: list[Judged]) -> list[Judged]:
    # A resumed run delivers the same rows in another order, which must not change sums and draws.
    judged = sorted(filter(is_judged, rows), key=lambda row: row.example_id)
    if rows and not judged:
        raise CalibError(
            "too-few",
            f"None of the {len(rows)} {dataset} responses of {cell} has been judged; "
            "judge the run before scoring it, with another judge if no reply was readable.",
        )
    for row, following in pairwise(judged):
        if row.example_id == following.example_id:
            raise CalibError(
                "duplicate",
                f"Example '{row.example_id}' of {dataset} occurs twice in {cell}; "
                "score each response once (were two records of one run joined?).",
            )
    return judged


def _tabulated(
    dataset: str,
    rows: Sequence[Judged],
    kind: str,
    mapping: str,
    by_category: bool = True,
    copies: Container[str] = (),
) -> Table:
    """The metrics of ``kind`` for the total, each variant and, with ``by_category``, each category.

    Variants in ``copies`` repeat the content of others, so no total or category includes them.
    """
    slices: dict[tuple[str, str], list[Judged]] = {(ALL, ALL): []}
    for row in rows:
        if ALL in (row.variant, row.category):
            raise CalibError(
                "invalid-value",
                f"'{ALL}' names totals; rename the variant or category of that name.",
            )
        slices.setdefault((row.variant, ALL), []).append(row)
        if row.variant in copies:
            continue
        slices[ALL, ALL].append(row)
        if by_category:
            slices.setdefault((ALL, row.category), []).append(row)
    return {
        (dataset, *name): measure(kind, members, mapping, total=name == (ALL, ALL))
        for name, members in slices.items()
    }


def _order(result: Result) -> tuple[Any, ...]:
    cell = (result.method != BASELINE, result.method, _layer_order(result.layer), result.strength)
    split = SPLITS.index(result.split) if result.split in SPLITS else len(SPLITS)
    dataset = (*DATASETS, ALL).index(result.dataset)
    slices = (result.variant != ALL, result.variant, result.category != ALL, result.category)
    return (*cell, split, result.split, dataset, *slices, result.metric)


def _layer_order(layer: int | None) -> int:
    return -1 if layer is None else layer
