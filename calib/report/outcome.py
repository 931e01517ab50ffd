"""What a finished run shows: its figure, and what the terminal says."""

from collections.abc import Mapping
from pathlib import Path

from calib.data.example import PAIRED_QUERIES
from calib.report.comparison import comparison
from calib.report.figures import methods, trade_off
from calib.report.figures.io import NotDrawn, save
from calib.report.terminal import summary
from calib.report.terminal_tables import breakdown, dual_use_table
from calib.runs.outcome import Outcome
from calib.runs.run import read_measured
from calib.scoring.results import BASELINE
from calib.scoring.tradeoff import Point, points_of


def show(outcome: Outcome, folder: Path, files: Mapping[str, Path]) -> str:
    """Draw the finished run in ``folder`` into it and return the text for the terminal, which names
    the figure beside ``files``."""
    chosen, files = outcome.chosen, dict(files)
    own = {name: one for name, one in chosen.items() if name != outcome.reference}
    name, draw = ("trade_off", trade_off.draw) if len(own) == 1 else ("methods", methods.draw)
    missing = []
    try:
        # What the run left on disk is drawn, so that calib.plot draws the same.
        files["figure"] = save(draw([read_measured(folder)], 2), folder / name)[0]
    except NotDrawn as error:
        missing = [f"No figure: {error}", ""]
    if len(own) == 1:
        ((name, (_, choice)),) = own.items()
        axis = outcome.axes.get(name, "")
        text = summary(
            outcome.judged,
            choice,
            outcome.checkpoint,
            files,
            axis,
            mapping=outcome.mapping,
            reference=_prompt_only(outcome),
        )
    else:
        found = outcome.judged, outcome.results, chosen, outcome.prompts
        text = comparison(*found, outcome.checkpoint, files, mapping=outcome.mapping)
    return "\n".join([*missing, *_tables(outcome), text])


def _prompt_only(outcome: Outcome) -> Point | None:
    """The setting of the prompt-only reference on test, whether it was chosen there or not."""
    points = points_of(outcome.results, "test")
    return next((point for point in points if point.method == outcome.reference), None)


def _tables(outcome: Outcome) -> list[str]:
    points = [next(iter(outcome.chosen.values()))[1].baseline]
    for method, (_, choice) in outcome.chosen.items():
        if method == outcome.reference:  # it has its line in the summary
            continue
        # What a method without a grid does is worth seeing also where it was not chosen.
        own = [p for p in points_of(outcome.results, "test") if p.method == method != BASELINE]
        kept = own if choice.kept_baseline and len(own) == 1 else []
        points += kept if choice.kept_baseline else [choice.point]
    if {r.dataset for r in outcome.results}.isdisjoint(PAIRED_QUERIES):
        return [dual_use_table(outcome.results, points)]
    return [breakdown(outcome.results, points)] if outcome.sliced else []
