"""The main job: fit directions, apply a calibration method at a grid of layers and strengths,
generate, judge, score, and show calibration against utility.

    python -m calib.sweep method=steer model=internvl
"""

from calib.cli import command
from calib.config.sweep import SweepConfig


def main(config: SweepConfig) -> None:
    """Run the sweep that ``config`` describes, or go on with it where it stopped."""
    from dataclasses import replace
    from pathlib import Path

    from calib.util.progress import waiting

    with waiting("loading torch and transformers"):
        import transformers  # noqa: F401

    from calib.config.prompts import NoneMethod
    from calib.data.benchmarks import load_benchmark, load_utility
    from calib.models.load import open_model
    from calib.report.outcome import show
    from calib.report.page.write import write_report
    from calib.runs.manifest import check_same_run, folder_name, identity_of, provenance
    from calib.runs.preflight import check_sweep, reference_of, sweep_notes
    from calib.runs.row_store import ROWS_FILE, RowStore, locked
    from calib.runs.sweep import Sweep, examples_identity, is_unfinished
    from calib.util.errors import CalibError
    from calib.util.terminal import terminal_safe

    # One that is not asked is no part of what the run is.
    config = replace(config, reference=reference_of(config) or NoneMethod())
    with waiting(f"loading the model ({config.model.name})"):
        vlm = open_model(config.model)
    benchmark = load_benchmark(config.data, config.seed)
    questions = load_utility(config.utility, config.seed, config.data.system)
    utility = questions.examples
    names = (config.model.name, config.experiment or config.method.name, config.data.name)
    named = Path(config.out).expanduser() if config.out else None
    folder = named or folder_name(names, config, vlm.fingerprint)
    # Whatever is wrong with the settings is said before the folder becomes this run's.
    extra = check_sweep(config, vlm, benchmark)
    notes = [*benchmark.notes, *questions.notes, *sweep_notes(config, vlm, benchmark.examples)]
    identity = identity_of(config) | {
        "checkpoint": vlm.checkpoint,
        "fingerprint": vlm.fingerprint,
        "examples": examples_identity(benchmark, utility),
        **extra,
    }
    with locked(folder):
        manifest = check_same_run(
            folder,
            identity,
            provenance() | {"notes": notes},
            unfinished=is_unfinished(folder),
        )
        with RowStore.open(folder / ROWS_FILE) as record:
            sweep = Sweep(config, vlm, benchmark, utility, folder, record)
            judge = sweep.judging.judge.id
            print(
                f"Checkpoint {terminal_safe(vlm.checkpoint)}, judge {terminal_safe(judge)}, ",
                end="",
            )
            print(f"run {terminal_safe(str(folder))}")
            for note in notes:
                print_note(note)
            if record.finished:
                print(f"Reusing {len(record.finished):,} cached rows.")
            run = sweep.run(manifest, print_note)
        files = run.write()
        if config.report:
            with waiting("writing the report"):
                try:
                    files["report"] = write_report([run], folder / "report.html")
                except CalibError as error:  # the run is complete without a report
                    print_note(f"there is no report: {error}")
        print(show(run, files))


def print_note(text: str) -> None:
    """Print a note about the run, harmless for a terminal."""
    from calib.util.terminal import terminal_safe

    print(f"note: {terminal_safe(text)}")


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
