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
    from calib.report.figures import calibration_against_utility, trade_off
    from calib.report.terminal import printable
    from calib.runs.tables import RESULTS_FILE
    from calib.scoring.results import read_results

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
    if len(found) == 1:
        drawn += trade_off(found[0], out / "trade_off")
    for path in drawn:
        print(printable(str(path)))


if __name__ == "__main__":
    command.run(main, "plot", PlotConfig)
