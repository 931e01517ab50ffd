"""Draw finished runs: calibration against utility, with intervals, baseline and Pareto front.

python -m calib.plot runs=[runs/NAME]
"""

from calib import command
from calib.config import PlotConfig


def main(config: PlotConfig) -> None:
    """Draw the runs that ``config`` names from their results, without asking the model again."""
    from pathlib import Path

    from calib.report.figures import calibration_against_utility, trade_off
    from calib.report.terminal import printable
    from calib.runs.tables import RESULTS_FILE
    from calib.scoring.results import read_results

    folders = [Path(run) for run in config.runs]
    found = [run for folder in folders for run in read_results(folder / RESULTS_FILE)]
    out = Path(config.out) if config.out else folders[0]
    drawn = calibration_against_utility(found, out / "calibration_against_utility")
    if len(found) == 1:
        drawn += trade_off(found[0], out / "trade_off")
    for path in drawn:
        print(printable(str(path)))


if __name__ == "__main__":
    command.run(main, "plot", PlotConfig)
