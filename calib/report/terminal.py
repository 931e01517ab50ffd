"""The end of a run: its figure is drawn, and its tables and summary are shown."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from calib.data.mini.worlds import MINI_WORLDS
from calib.data.splits import PAIRED_QUERIES
from calib.report.advice.text import joint_lines, recommendation_lines
from calib.report.comparison import comparison
from calib.report.figures import methods, trade_off
from calib.report.figures.io import NotDrawn, save
from calib.report.joint import Joined, joined_if_possible
from calib.report.method_table import compares_methods
from calib.report.part_rates import rates_by_part, terminal_table
from calib.report.ranking import rank_methods
from calib.report.summary import summary
from calib.report.terminal_tables import breakdown, dual_use_table, file_list
from calib.runs.run import Run
from calib.util.terminal import WIDTH, terminal_safe


def show_run(run: Run, files: Mapping[str, Path]) -> str:
    """Draw the figure of a run into its folder and return the text for the terminal.

    One method has the figure trade_off and a summary; several have the figure methods and a
    comparison. ``files`` are the paths written so far, by what they contain; the text lists them
    and the figure.
    """
    files = dict(files)
    single = not compares_methods(run)
    name, draw = ("trade_off", trade_off.draw) if single else ("methods", methods.draw)
    missing = []
    try:
        files["figure"] = save(draw([run], 2), run.folder / name)[0]
    except NotDrawn as error:
        missing = [f"No figure: {error}", ""]
    shown = summary if single else comparison
    return "\n".join([*missing, shown(run, files, _tables(run))])


def show_report(
    runs: Sequence[Run], files: Mapping[str, Path], together: Joined | None = None
) -> str:
    """Return the recommendation on ``runs``, the text of calib.report for the terminal.

    Several runs with one uncalibrated model have one recommendation and one comparison of their
    methods; of others the text says why not, and recommends for each. ``together`` is as in
    write_report. The files come last.
    """
    joint, apart = together or joined_if_possible(runs)
    if joint:
        table = comparison if compares_methods(joint.run) else summary
        lines = [*joint_lines(joint), *recommendation_lines(rank_methods(joint.run), joint.sources)]
        return "\n".join(["", *lines, table(joint.run, files)])
    lines = textwrap.wrap(terminal_safe(apart), WIDTH)
    for run in runs:
        heading = [f"Run {terminal_safe(run.name, WIDTH - 4)}"] if len(runs) > 1 else []
        advice = recommendation_lines(rank_methods(run)) or ["This run has no method."]
        lines += ["", *heading, *advice]
    return "\n".join([*lines, "", *file_list(files)]) + "\n"


def _tables(run: Run) -> list[str]:
    """Return the tables by part, variant and category that the summary does not have."""
    points = [run.baseline]
    for method in run.methods:
        if method.reference:  # the summary has a line for it
            continue
        # A method with a single setting is shown even if it kept the uncalibrated model.
        own = [point for point in run.tested if point.method == method.name]
        single = own if len(own) == 1 else []
        points += single if method.choice.kept_baseline else [method.choice.point]
    if {result.dataset for result in run.results}.isdisjoint(PAIRED_QUERIES):
        return [dual_use_table(run.results, points)]
    kept = any(method.choice.kept_baseline for method in run.methods)
    tables = [terminal_table(rates_by_part(run), run.mapping, left_out=kept)]
    if run.data in MINI_WORLDS:
        several = compares_methods(run)
        # The summary of one method lists the parts of a mini world, apart from dual use.
        if not several and not any(result.dataset == "dual_use" for result in run.results):
            tables = []
    else:
        tables.insert(0, breakdown(run.results, points))
    return [table for table in tables if table]
