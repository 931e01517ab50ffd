"""What a finished run shows: its figure, and what the terminal says."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calib.data.parts import PAIRED_QUERIES
from calib.report.breakdown import breakdown
from calib.report.comparison import comparison
from calib.report.dual_use_table import dual_use_table
from calib.report.figures.methods import methods_figure
from calib.report.figures.trade_off import trade_off
from calib.report.terminal import summary
from calib.runs.outcome import Outcome
from calib.scoring.results import BASELINE, RunResults
from calib.scoring.tradeoff import points_of


def show(outcome: Outcome, folder: Path, files: Mapping[str, Path]) -> str:
    """Draw the figure into ``folder`` and return the text for the terminal, which names it beside
    ``files``."""
    run = RunResults(folder.name, outcome.checkpoint, outcome.results)
    chosen, files = outcome.chosen, dict(files)
    own = {name: one for name, one in chosen.items() if name != outcome.reference}
    if len(own) == 1:
        ((name, (_, choice)),) = own.items()
        axis = outcome.axes.get(name, "")
        alone = replace(run, results=[r for r in run.results if r.method != outcome.reference])
        files["figure"] = trade_off(alone, folder / "trade_off", axis=axis)[0]
        text = summary(
            outcome.judged, choice, outcome.checkpoint, files, axis, mapping=outcome.mapping
        )
    else:
        layers = {name: layer for name, (layer, _) in chosen.items()}
        places = {n: (c.point.layer, c.point.strength) for n, (_, c) in chosen.items()}
        files["figure"] = methods_figure(run, places, layers, folder / "methods")[0]
        found = outcome.judged, outcome.results, chosen, outcome.prompts
        text = comparison(*found, outcome.checkpoint, files, mapping=outcome.mapping)
    return "\n".join([*_tables(outcome), text])


def _tables(outcome: Outcome) -> list[str]:
    points = [next(iter(outcome.chosen.values()))[1].baseline]
    for method, (_, choice) in outcome.chosen.items():
        # What a method without a grid does is worth seeing also where it was not chosen.
        own = [p for p in points_of(outcome.results, "test") if p.method == method != BASELINE]
        kept = own if choice.kept_baseline and len(own) == 1 else []
        points += kept if choice.kept_baseline else [choice.point]
    if {r.dataset for r in outcome.results}.isdisjoint(PAIRED_QUERIES):
        return [dual_use_table(outcome.results, points)]
    return [breakdown(outcome.results, points)] if outcome.sliced else []
