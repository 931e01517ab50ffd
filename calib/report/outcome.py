"""The end of a run: its figure, and the summary for the terminal."""

from collections.abc import Mapping
from pathlib import Path

from calib.data.splits import PAIRED_QUERIES
from calib.report.comparison import comparison
from calib.report.figures import methods, trade_off
from calib.report.figures.io import NotDrawn, save
from calib.report.terminal import summary
from calib.report.terminal_tables import breakdown, dual_use_table
from calib.runs.run import Run
from calib.scoring.tradeoff import OperatingPoint, Point, baseline_of, points_of


def show(run: Run, files: Mapping[str, Path]) -> str:
    """Draw the run's figure into its folder and return the text for the terminal, which names the
    figure and ``files``."""
    files = dict(files)
    own = [method for method in run.methods if not method.reference]
    name, draw = ("trade_off", trade_off.draw) if len(own) < 2 else ("methods", methods.draw)
    missing = []
    try:
        files["figure"] = save(draw([run], 2), run.folder / name)[0]
    except NotDrawn as error:
        missing = [f"No figure: {error}", ""]
    if len(own) < 2:
        choice, meaning = (own[0].choice, own[0].strength_means) if own else (_kept(run), "")
        text = summary(
            run.judged,
            choice,
            run.checkpoint,
            files,
            meaning,
            mapping=run.mapping,
            reference=_prompt_only(run),
        )
    else:
        chosen = {method.name: (method.layer, method.choice) for method in run.methods}
        prompts = [method.name for method in run.methods if method.prompt_only]
        text = comparison(
            run.judged, run.results, chosen, prompts, run.checkpoint, files, mapping=run.mapping
        )
    return "\n".join([*missing, *_tables(run), text])


def _kept(run: Run) -> OperatingPoint:
    """The uncalibrated model as the operating point of a run without methods."""
    baseline = baseline_of(points_of(run.results, "validation"))
    return OperatingPoint(baseline, baseline, 0.01, baseline.utility is not None)


def _prompt_only(run: Run) -> Point | None:
    """The setting of the prompt-only reference on test, even when it was not chosen there."""
    reference = next((method.name for method in run.methods if method.reference), None)
    return next((point for point in run.tested if point.method == reference), None)


def _tables(run: Run) -> list[str]:
    points = [_kept(run).baseline]
    for method in run.methods:
        if method.reference:  # the summary has a line for it
            continue
        # A method with a single setting is shown even when it was not chosen.
        own = [point for point in run.tested if point.method == method.name]
        single = own if len(own) == 1 else []
        points += single if method.choice.kept_baseline else [method.choice.point]
    if {result.dataset for result in run.results}.isdisjoint(PAIRED_QUERIES):
        return [dual_use_table(run.results, points)]
    # The summary has the parts of the mini world.
    return [] if run.data == "mini" else [breakdown(run.results, points)]
