"""What a reader must know about results that an earlier version of calib wrote."""

from collections.abc import Iterable

from calib.runs.run import Run

_CHANGE = (
    "mapping=calib now counts a safe query that is answered with a warning as right, and earlier "
    "versions of calib did not"
)


def mapping_notes(runs: Iterable[Run]) -> list[str]:
    """Say of each run by an earlier version which mapping its numbers are under."""
    return [_note(run) for run in runs if run.is_of_earlier_mapping and run.mapping == "calib"]


def _note(run: Run) -> str:
    if run.is_scored_again:
        return (
            f"{run.name}: scored again from its labels, because {_CHANGE}; the operating points "
            f"are those that the run chose ('calib judge run={run.folder}' chooses anew)"
        )
    return (
        f"{run.name}: {_CHANGE}, and this run has no labels and responses to score again, so its "
        "SRA and SRA_s are lower than those of other runs"
    )
