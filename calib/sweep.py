"""Run a sweep: apply calibration methods at a grid of layers and strengths and measure the effect.

Fits directions, generates and judges responses, scores them, and reports calibration against
utility.

    python -m calib.sweep method=steer model=internvl
"""

from calib.cli import command
from calib.config.sweep import SweepConfig


def main(config: SweepConfig) -> None:
    """Run the sweep that ``config`` describes, or resume it where it was interrupted."""
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
    from calib.runs.manifest import (
        claim_folder,
        examples_identity,
        identity_of,
        provenance,
        run_folder,
    )
    from calib.runs.preflight import check_sweep, reference_of, sweep_notes
    from calib.runs.row_store import ROWS_FILE, RowStore, locked
    from calib.runs.sweep import Sweep
    from calib.util.errors import CalibError
    from calib.util.terminal import terminal_safe

    def note(text: str) -> None:
        print(f"note: {terminal_safe(text)}")

    # A reference that is not run does not identify the run.
    config = replace(config, reference=reference_of(config) or NoneMethod())
    with waiting(f"loading the model ({config.model.name})"):
        model = open_model(config.model)
    benchmark = load_benchmark(config.data, config.seed)
    utility = load_utility(config.utility, config.seed, config.data.system)
    # Errors in the settings are raised before the folder is claimed.
    given_directions = check_sweep(config, model, benchmark)
    notes = [*benchmark.notes, *utility.notes, *sweep_notes(config, model, benchmark.examples)]
    identity = identity_of(config) | {
        "checkpoint": model.checkpoint,
        "fingerprint": model.fingerprint,
        "examples": examples_identity([*benchmark.examples, *utility.examples]),
        **given_directions,
    }
    names = (config.model.name, config.experiment or config.method.name, config.data.name)
    named = Path(config.out).expanduser() if config.out else None
    folder = named or run_folder(names, config, model.fingerprint)
    with locked(folder):
        manifest = claim_folder(folder, identity, provenance() | {"notes": notes})
        with RowStore.open(folder / ROWS_FILE) as store:
            sweep = Sweep(config, model, benchmark, utility.examples, folder, store)
            header = f"Checkpoint {model.checkpoint}, judge {sweep.judging.judge.id}, run {folder}"
            print(terminal_safe(header))
            for text in notes:
                note(text)
            if store.finished:
                print(f"Reusing {len(store.finished):,} cached rows.")
            run = sweep.run(manifest, note)
        files = run.write()
        if config.report:
            with waiting("writing the report"):
                try:
                    files["report"] = write_report([run], folder / "report.html")
                except CalibError as error:  # the run is complete without a report
                    note(f"there is no report: {error}")
        print(show(run, files))


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
