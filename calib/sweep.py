"""Run a sweep: apply calibration methods at a grid of layers and strengths and measure the effect.

Fits directions, generates and judges responses, scores them, and reports calibration against
utility.

    python -m calib.sweep method=steer model=internvl
"""

from calib.cli import command
from calib.cli.repeating import repeating_command
from calib.cli.replicas import make_shards, stop_with_parent
from calib.config.sweep import SweepConfig
from calib.util.progress import job_label


def main(config: SweepConfig) -> None:
    """Run the sweep that ``config`` describes, or resume it where it was interrupted."""
    if config.devices is not None:
        make_shards(str(config.devices))  # what follows joins them
    elif config.shard is not None:
        stop_with_parent()
        with job_label(f"shard {config.shard}"):
            _run(config)
            return
    _run(config)


def _run(config: SweepConfig) -> None:
    command.import_libraries()

    from calib.report.method_table import write_method_table
    from calib.report.page.write import write_report
    from calib.report.terminal import show_run
    from calib.runs.perform import perform
    from calib.runs.run import Run
    from calib.util.errors import CalibError
    from calib.util.progress import waiting
    from calib.util.terminal import terminal_safe

    def say(line: str) -> None:
        print(terminal_safe(line))

    def finish(run: Run) -> None:
        files = run.write() | write_method_table(run)
        if config.report:
            with waiting("writing the report"):
                try:
                    files["report"] = write_report([run], run.folder / "report.html")
                except CalibError as error:  # the run is complete without a report
                    command.print_notes([f"there is no report: {error}"])
        print(show_run(run, files))

    run = perform(config, None, say, command.print_notes, finish, repeating_command())
    if not isinstance(run, Run):
        rows = f"Shard {config.shard} is complete: its rows are in {run}."
        print(terminal_safe(rows), "Run the command without shard to join all shards.")


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
