"""Several runs of one model as one run in memory, for one verdict over the methods of all of them.

A verdict over several runs needs one uncalibrated model: the same weights, data set, judge and
mapping, and the same label of each uncalibrated response. Only the queries and questions that every
run has in the same split count, so that every method is tested on the same ones. The settings stay
those that each run chose on validation.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from calib.report.joint_conditions import (
    ExampleKey,
    NotJoint,
    example_key,
    examples_of,
    is_query,
    outcome,
    require_same_baseline,
    require_same_conditions,
    shared_examples,
)
from calib.runs.operating_points import REPORTED_SPLIT
from calib.runs.row_store import Record
from calib.runs.run import Run
from calib.runs.run_files import LabelledRow
from calib.scoring.judged import Judged
from calib.scoring.result_table import ResultTable
from calib.scoring.results import BASELINE, Result, rounded
from calib.scoring.score import score
from calib.scoring.tradeoff import points_of


@dataclass(frozen=True)
class JointRun:
    """The methods of several runs as those of one run."""

    run: Run
    """In memory. A method that several runs have is followed by the number of its run, as in
    "steer (2)"."""
    sources: Mapping[str, tuple[Run, str]]
    """The run of each method and the method's name there, by its name in ``run``."""
    runs: Sequence[Run]
    notes: tuple[str, ...]
    """What was left out, and the names behind the numbers of runs."""


@dataclass(frozen=True)
class _Member:
    """A method of one of the runs."""

    run: Run
    number: int
    record: Mapping[str, Any]
    """Its record in operating_points.json."""
    rows: Mapping[tuple[Any, ...], tuple[str | None, bool]]
    """Label and correctness of its responses, by setting and example."""

    @property
    def method(self) -> str:
        return str(self.record["method"])


def join_runs(runs: Sequence[Run]) -> JointRun:
    """Join the methods of ``runs``, which have results.

    A reference that another run has with the same responses is left out, and so is a method that
    two runs have with the same responses. Raises NotJoint, which says what differs, if the runs
    have no uncalibrated model, query of validation or query of test in common, and if one of them
    is a run of calib.extract.
    """
    require_same_conditions(runs)
    shared = shared_examples(runs)
    require_same_baseline(runs, shared)
    members = [
        _member(run, number, record, shared)
        for number, run in enumerate(runs, start=1)
        for record in run.operating_points
        if record["method"] != BASELINE
    ]
    distinct = _distinct(members)
    names = _names(distinct)
    numbered = any(name != member.method for name, member in names.items())
    notes = [f"({k}): {run.name}" for k, run in enumerate(runs, start=1)] if numbered else []
    if notes:
        notes = [f"Methods with the number of their run: {'; '.join(notes)}."]
    notes += _left_out(runs, shared)
    repeated = [m for m in members if m not in distinct and not m.record.get("reference")]
    if repeated:
        shown = ", ".join(f"{m.method} of {m.run.name}" for m in repeated)
        notes.append(f"Left out, because another run has the same responses: {shown}.")
    return JointRun(
        _joined(runs, names, shared), 
        {name: (member.run, member.method) for name, member in names.items()},
        tuple(runs),
        tuple(notes),
    )  # fmt: skip


class Joined(NamedTuple):
    """Several runs as one, or the reason why they have no joint verdict."""

    joint: JointRun | None
    apart: str
    """The reason; "" for a single run, and for runs with a joint verdict."""


def joined_if_possible(runs: Sequence[Run]) -> Joined:
    """Join runs that have one uncalibrated model. It takes long if only some examples are shared,
    because these are scored anew."""
    if len(runs) < 2:
        return Joined(None, "")
    try:
        return Joined(join_runs(runs), "")
    except NotJoint as reason:
        return Joined(None, str(reason))


# Methods


def _member(run: Run, number: int, record: Mapping[str, Any], shared: set[ExampleKey]) -> _Member:
    rows = {
        (row.layer, row.strength, *example_key(row)): outcome(row, run.mapping)
        for row in run.judged
        if row.method == record["method"] and example_key(row) in shared
    }
    return _Member(run, number, record, rows)


def _distinct(members: Sequence[_Member]) -> list[_Member]:
    """Leave out references and methods whose responses another run's method of that name has."""

    def repeats(member: _Member, other: _Member) -> bool:
        same = member.method == other.method and member.rows.items() <= other.rows.items()
        if member is other or not same or member.run is other.run:
            return False
        if bool(member.record.get("reference")) != bool(other.record.get("reference")):
            return bool(member.record.get("reference"))
        # Of two methods with the same settings the first one stays.
        return member.number > other.number and member.rows == other.rows

    return [one for one in members if not any(repeats(one, other) for other in members)]


def _names(members: Sequence[_Member]) -> dict[str, _Member]:
    """Name the methods, with the number of the run if several runs have one of that name.

    The number is repeated where another method has that name, as one of an extension may.
    """
    count = Counter(member.method for member in members)
    taken = {method for method, times in count.items() if times == 1}
    names: dict[str, _Member] = {}
    for member in members:
        name = member.method
        while count[member.method] > 1 and (name == member.method or name in taken):
            name += f" ({member.number})"
        taken.add(name)
        names[name] = member
    return names


# The run in memory


def _joined(runs: Sequence[Run], names: Mapping[str, _Member], shared: set[ExampleKey]) -> Run:
    first = runs[0]
    rows: list[LabelledRow] = []
    judged: list[Judged] = []
    for name, (run, method) in _blocks(first, names):
        for row, own in zip(run.rows, run.judged, strict=True):
            if own.method == method and example_key(own) in shared:
                rows.append(replace(row, method=name))
                judged.append(replace(own, method=name))
    records = [
        {"settings": _searched(member), **member.record, "method": name, "run": member.run.name}
        for name, member in names.items()
    ]
    complete = all(examples_of(run) == shared for run in runs)
    results = _concatenated(first, names) if complete else _rescored(judged, records, first.mapping)
    responses: dict[str, Record] = {}
    for run in reversed(runs):
        responses |= run.responses
    return first.replace(
        name=" and ".join(run.name for run in runs),
        checkpoint=first.checkpoint,
        model_name=first.model_name,
        settings=first.settings,
        examples={name: each for run in reversed(runs) for name, each in run.examples.items()},
        operating_points=records, results=ResultTable(results), rows=rows, responses=responses,
        judge=first.judge, judged=judged, directions={}, projections={}, part_separations={},
    )  # fmt: skip


def _searched(member: _Member) -> int:
    """The number of a method's settings on validation, which older runs do not record."""
    return sum(
        point.method == member.method for point in points_of(member.run.results, "validation")
    )


def _blocks(first: Run, names: Mapping[str, _Member]) -> Iterable[tuple[str, tuple[Run, str]]]:
    """The uncalibrated model of the first run, then each method with its run and its name there."""
    yield BASELINE, (first, BASELINE)
    for name, member in names.items():
        yield name, (member.run, member.method)


def _concatenated(first: Run, names: Mapping[str, _Member]) -> list[Result]:
    return [
        replace(result, method=name)
        for name, (run, method) in _blocks(first, names)
        for result in run.results
        if result.method == method
    ]


def _rescored(
    judged: Sequence[Judged], records: Sequence[Mapping[str, Any]], mapping: str
) -> list[Result]:
    """Score the shared examples; of validation only the chosen settings, which are compared."""
    chosen = {(r["method"], r["layer"], float(r["strength"])) for r in records}
    return rounded(
        score(
            [
                row for row in judged
                if row.split == REPORTED_SPLIT or row.method == BASELINE
                or (row.method, row.layer, row.strength) in chosen
            ],
            mapping,
        )
    )  # fmt: skip


def _left_out(runs: Sequence[Run], shared: set[ExampleKey]) -> list[str]:
    """Say how many queries and questions on test only some of the runs have."""
    notes = []

    def tested(keys: Iterable[ExampleKey], is_counted: Callable[[ExampleKey], bool]) -> int:
        return sum(key[0] == REPORTED_SPLIT and is_counted(key) for key in keys)

    for what, is_counted in (
        ("queries", is_query),
        ("utility questions", lambda key: key[1] == "utility"),
    ):
        counts = [tested(examples_of(run), is_counted) for run in runs]
        common = tested(shared, is_counted)
        if any(count != common for count in counts):
            own = ", ".join(
                f"{run.name} {count:,}" for run, count in zip(runs, counts, strict=True)
            )
            notes.append(f"Only {what} on test that all runs have count here: {common:,} ({own}).")
    return notes
