"""Write one HTML file on finished runs: did calibration help, at what cost, and every example.

python -m calib.report runs=[runs/NAME]
"""

from calib.cli import command
from calib.config.commands import ReportConfig


def main(config: ReportConfig) -> None:
    """Write the report of the runs in ``config.runs``; nothing is generated or judged again."""
    from calib.report.alarms import mapping_notes
    from calib.report.joint import joined_if_possible
    from calib.report.page.images import reload_images
    from calib.report.page.write import write_report
    from calib.report.terminal import show_report
    from calib.report.terminal_tables import REPORT
    from calib.runs.checks.responses import require_responses
    from calib.runs.distinct_models import with_distinct_models
    from calib.runs.run import Run
    from calib.util.files import home_expanded
    from calib.util.terminal import terminal_safe

    runs = Run.load_many(config.runs)
    for run in runs:
        require_responses(run)
    runs = with_distinct_models(runs)
    out = home_expanded(config.out) if config.out else runs[0].folder / "report.html"
    notes = mapping_notes(runs)
    if config.pictures:
        reloaded = [reload_images(run) for run in runs]
        runs = [run for run, _ in reloaded]
        notes += [note for _, notes_of_run in reloaded for note in notes_of_run]
    for note in notes:
        print(f"note: {terminal_safe(note)}")
    together = joined_if_possible(runs)
    write_report(
        runs,
        out,
        examples=config.examples,
        pictures=config.pictures,
        notes=notes,
        together=together,
    )
    for run in runs:
        if repeating := run.provenance.get("command"):
            name = terminal_safe(run.name) if len(runs) > 1 else "this run"
            print(f"To repeat {name} (out=FOLDER: in another folder):")
            print(f"  {terminal_safe(repeating)}")
    print(show_report(runs, {REPORT: out}, together), end="")


if __name__ == "__main__":
    command.run(main, "report", ReportConfig)
