"""The conditions for a joint verdict: what several runs must have in common."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from calib.runs.distinct_models import with_distinct_models
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.run import Run
from calib.scoring.judged import QUESTION_DATASETS, Judged, counted_label, is_correct_response
from calib.scoring.results import BASELINE
from calib.util.errors import CalibError
from calib.util.listing import shortened
from calib.util.terminal import terminal_safe

_GENERATION = ("max_new_tokens", "temperature", "top_p", "early_stop")
_MOST_NAMED = 4
"""Runs that a reason names."""
ExampleKey = tuple[str, str, str]
"""Split, dataset and id of an example."""


class NotJoint(CalibError):
    """The reason why runs have no joint verdict."""


def _not_joint(code: str, reason: str) -> NotJoint:
    return NotJoint(
        code,
        f"There is no joint verdict, because {reason}. Each run has a verdict of its own, whose "
        "p-values are not adjusted for the other runs. Compare methods in one sweep, or in runs of "
        "the same model, data and judge.",
    )


def _fingerprint(run: Run) -> object:
    return run.manifest.get("identity", {}).get("fingerprint")


def _generation(name: str, run: Run) -> object:
    return (run.settings.get("generation") or {}).get(name)


def _weights(run: Run) -> object:
    return (run.settings.get("choose") or {}).get("weights")


_CONDITIONS: dict[str, Callable[[Run], object]] = {
    "models": lambda run: run.checkpoint,
    "weights or settings of the model (fingerprint)": _fingerprint,
    "data sets": lambda run: run.data,
    "judges": lambda run: run.judge,
    "mappings from labels to right or wrong": lambda run: run.mapping,
    "weights of SRA_u and SRA_s": _weights,
    **{f"values of generation.{name}": partial(_generation, name) for name in _GENERATION},
}
"""What must agree, as the end of "the runs have different ..."."""


def require_same_conditions(runs: Sequence[Run]) -> None:
    """Raise NotJoint for a run of calib.extract, and if the runs differ in a condition."""
    for run in runs:
        if run.is_extraction:
            name = terminal_safe(run.name, 40)
            raise _not_joint("unsupported", f"{name} is a run of calib.extract, without responses")
    for what, value_of in _CONDITIONS.items():
        values = [value_of(run) for run in runs]
        if any(value != values[0] for value in values):
            if what == "models":
                values = [run.model_name for run in with_distinct_models(runs)]
            named = [
                f"{terminal_safe(run.name, 40)}: {terminal_safe(str(value), 60)}"
                for run, value in zip(runs, values, strict=True)
            ]
            listed = "; ".join(shortened(named, _MOST_NAMED))
            raise _not_joint("mismatch", f"the runs have different {what} ({listed})")


def examples_of(run: Run) -> set[ExampleKey]:
    """The examples that a run asked the uncalibrated model."""
    return {example_key(row) for row in run.judged if row.method == BASELINE}


def example_key(row: Judged) -> ExampleKey:
    return row.split, row.dataset, row.example_id


def shared_examples(runs: Sequence[Run]) -> set[ExampleKey]:
    """The examples that every run has in the same split, with the same text."""
    shared = set.intersection(*map(examples_of, runs))
    shared = {key for key in shared if _same_text([run.examples.get(key[2]) for run in runs])}
    for split in ("validation", REPORTED_SPLIT):
        if not any(key[0] == split and is_query(key) for key in shared):
            raise _not_joint("too-few", f"the runs have no query of the {split} split in common")
    # A cost that one run measured must not be left out because another run did not measure it.
    asked = [any(key[:2] == (REPORTED_SPLIT, "utility") for key in keys)
             for keys in (set().union(*map(examples_of, runs)), shared)]  # fmt: skip
    if asked == [True, False]:
        raise _not_joint("too-few", "the runs have no utility question of test in common")
    return shared


def _same_text(examples: Sequence[Any]) -> bool:
    texts = {(e.query, e.system, e.earlier_turns) for e in examples if e is not None}
    return len(texts) <= 1


def is_query(key: ExampleKey) -> bool:
    return key[1] not in QUESTION_DATASETS


def outcome(row: Judged, mapping: str) -> tuple[str | None, bool]:
    return counted_label(row, mapping), is_correct_response(row, mapping)


def require_same_baseline(runs: Sequence[Run], shared: set[ExampleKey]) -> None:
    """Raise NotJoint if the uncalibrated model has other labels in one run than in the first."""
    first, *others = (
        {example_key(row): outcome(row, run.mapping) for row in run.judged
         if row.method == BASELINE and example_key(row) in shared}
        for run in runs
    )  # fmt: skip
    for run, outcomes in zip(runs[1:], others, strict=True):
        different = sum(outcomes[key] != first[key] for key in shared)
        if different:
            raise _not_joint(
                "mismatch",
                "the responses of the uncalibrated model have other labels in "
                f"{terminal_safe(run.name, 40)} than in {terminal_safe(runs[0].name, 40)} for "
                f"{different:,} of {len(shared):,} shared queries and questions",
            )
