"""One HTML file of finished runs: did calibration help, what did it cost, and every example.

python -m calib.report runs=[runs/NAME]
"""

from calib.cli import command
from calib.config.commands import ReportConfig


def main(config: ReportConfig) -> None:
    """Write the report of the runs that ``config`` names, without asking the model again."""
    from calib.report.page.images import with_pictures_again
    from calib.report.page.write import write_report
    from calib.runs.run import home_expanded, read_finished
    from calib.util.terminal import terminal_safe

    folders = [home_expanded(run) for run in config.runs]
    out = home_expanded(config.out) if config.out else folders[0] / "report.html"
    runs = [read_finished(folder) for folder in folders]
    notes: list[str] = []
    if config.pictures:
        found = [with_pictures_again(run) for run in runs]
        runs = [run for run, _ in found]
        notes = [note for _, said in found for note in said]
    for note in notes:
        print(f"note: {terminal_safe(note)}")
    write_report(runs, out, examples=config.examples, pictures=config.pictures, notes=notes)
    print(f"report  {terminal_safe(str(out))}")


if __name__ == "__main__":
    command.run(main, "report", ReportConfig)
