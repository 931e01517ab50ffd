"""Judge the responses of a finished run by another judge, or measure a judge's agreement.

python -m calib.judge run=runs/NAME judge=string
"""

from calib.cli import command
from calib.config.judge import JudgeRunConfig


def main(config: JudgeRunConfig) -> None:
    """Judge a run, write a sheet for human labels, or compare a judge with human labels."""

    from calib.report.method_table import write_method_table
    from calib.report.terminal import show_run
    from calib.report.terminal_tables import confusion_text
    from calib.runs.checks.responses import require_responses
    from calib.runs.labels.annotation_sheet import write_sheet
    from calib.runs.labels.judge_agreement import compare
    from calib.runs.labels.rejudging import rejudge
    from calib.runs.row_store import locked
    from calib.runs.run import Run
    from calib.util.errors import CalibError
    from calib.util.files import home_expanded
    from calib.util.terminal import terminal_safe

    run = Run.load(config.run) if config.run else None
    if run is not None:
        require_responses(run)
    out = home_expanded(config.out) if config.out else None
    if config.check:
        if config.audit:
            raise CalibError(
                "conflicting-settings", "check and audit cannot be used together. Give one of them."
            )
        comparison = compare(config, run)
        command.print_notes(comparison.notes)
        print(confusion_text(comparison.agreement, given=comparison.judge))
    elif run is None:
        raise CalibError(
            "missing-setting",
            "there is nothing to judge. Give run=FOLDER, a finished run of calib.sweep, or "
            "check=FILE, a table with human labels.",
        )
    elif config.audit:
        sheet, notes = write_sheet(run, config.audit, config.seed, out or run.folder / "audit")
        command.print_notes(notes)
        print(f"sheet  {terminal_safe(str(sheet))}")
    else:
        with locked(run.folder):
            rejudged, files, notes = rejudge(config, run, out)
            header = f"Checkpoint {run.checkpoint}, judge {rejudged.judge}, run {run.folder}"
            print(terminal_safe(header))
            command.print_notes(notes)
            print(show_run(rejudged, files | write_method_table(rejudged)))


if __name__ == "__main__":
    command.run(main, "judge", JudgeRunConfig)
