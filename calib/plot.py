"""Draw finished runs: calibration against utility, with intervals, baseline and Pareto front.

python -m calib.plot runs=[runs/NAME]
"""

from calib import command
from calib.config import PlotConfig


def main(config: PlotConfig) -> None:
    """Draw the runs that ``config`` names from their results, without asking the model again."""
    import os
    from pathlib import Path

    from calib.errors import CalibError
    from calib.report.figures.methods import methods_figure
    from calib.report.figures.trade_off import calibration_against_utility, trade_off
    from calib.report.terminal import printable
    from calib.runs.tables import RESULTS_FILE, read_operating_points
    from calib.scoring.results import BASELINE, read_results

    # A shell leaves the ~ of runs=[~/a] as it is. Unlike pathlib's, os.path's expanduser leaves
    # a user that does not exist alone.
    folders = [Path(os.path.expanduser(run)) for run in config.runs]  # noqa: PTH111
    for folder in folders:
        if not (folder / RESULTS_FILE).is_file():
            raise CalibError(
                f"'{folder}' has no {RESULTS_FILE}: it is not a finished run of calib.sweep. Give "
                "the run's folder, which the sweep prints, or run the sweep to its end first."
            )
    found = [run for folder in folders for run in read_results(folder / RESULTS_FILE)]
    out = Path(os.path.expanduser(config.out)) if config.out else folders[0]  # noqa: PTH111
    drawn = calibration_against_utility(found, out / "calibration_against_utility")
    methods = {result.method for run in found for result in run.results} - {BASELINE}
    if len(found) == 1 and len(methods) <= 1:
        axes = {one["method"]: one["strength_means"] for one in read_operating_points(folders[0])}
        axis = axes.get(next(iter(methods), BASELINE), "")
        drawn += trade_off(found[0], out / "trade_off", axis=axis)
    elif len(found) == 1:
        points = read_operating_points(folders[0])
        layers = {one["method"]: one["layer"] for one in points}
        places = {one["method"]: (one["layer"], one["strength"]) for one in points}
        drawn += methods_figure(found[0], places, layers, out / "methods")
    for path in drawn:
        print(printable(str(path)))


if __name__ == "__main__":
    command.run(main, "plot", PlotConfig)
