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

    from calib.config.prompts import NoneMethod, Prompting
    from calib.data.benchmarks import load_benchmark, load_utility_noted
    from calib.interventions.intervention import BASELINE
    from calib.models.load import open_model
    from calib.report.outcome import show
    from calib.report.page.write import write_report
    from calib.runs.manifest import check_same_run, folder_name, identity_of, provenance
    from calib.runs.outcome import Outcome
    from calib.runs.preflight import (
        check_sweep,
        methods_of,
        reference_of,
        remote_answer_notes,
        sweep_notes,
    )
    from calib.runs.row_store import ROWS_FILE, RowStore, locked
    from calib.runs.run import read_finished
    from calib.runs.run_files import write_config, write_tables
    from calib.runs.selection import select_operating_point
    from calib.runs.sweep import Sweep, examples_identity, is_unfinished
    from calib.scoring.metrics import in_order, score
    from calib.util.errors import CalibError
    from calib.util.terminal import terminal_safe

    # One that is not asked is no part of what the run is.
    config = replace(config, reference=reference_of(config) or NoneMethod())
    with waiting(f"loading the model ({config.model.name})"):
        vlm = open_model(config.model)
    benchmark = load_benchmark(config.data, config.seed)
    questions = load_utility_noted(config.utility, config.seed, config.data.system)
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
        check_same_run(
            folder,
            identity,
            provenance() | {"notes": notes},
            unfinished=is_unfinished(folder),
        )
        with RowStore.open(folder / ROWS_FILE) as record:
            study = Sweep(config, vlm, benchmark, utility, folder, record)
            judge = study.judging.judge.id
            print(
                f"Checkpoint {terminal_safe(vlm.checkpoint)}, judge {terminal_safe(judge)}, ",
                end="",
            )
            print(f"run {terminal_safe(str(folder))}")
            for note in notes:
                print(f"note: {terminal_safe(note)}")
            if record.finished:
                print(f"{len(record.finished):,} rows were answered before and are not done again.")

            grids, axes = {}, {}
            for method in study.methods():
                grids[method.name] = study.grid(method)
                axes[method.name] = method.axis.meaning
                for note in (*method.notes, *study.notes):
                    print(f"note: {terminal_safe(note)}")
                study.notes.clear()
            settings = [BASELINE, *(one for grid in grids.values() for one in grid)]
            validated = score(study.validate(settings), config.mapping)
            chosen = {
                name: select_operating_point(validated, name) for name in grids or [BASELINE.method]
            }
            kept = [
                one for name, grid in grids.items() for one in grid if one.layer == chosen[name][0]
            ]
            tested = score(study.test([BASELINE, *kept]), config.mapping)
            labels = study.write_labels()
            answered = remote_answer_notes(record)
            for note in (*study.engine.notes, *answered, *study.judging.notes()):
                print(f"note: {terminal_safe(note)}")

        results = in_order([*validated, *tested])
        prompts = [one.name for one in methods_of(config) if isinstance(one, Prompting)]
        beside = reference_of(config)
        reference = beside.name if beside else None
        files = write_tables(folder, vlm.checkpoint, results, chosen, axes, prompts, reference)
        files |= {"configuration": write_config(folder, config), "labels": labels}
        if config.report:
            run = read_finished(folder).pictured([*benchmark.examples, *utility])
            with waiting("writing the report"):
                try:
                    files["report"] = write_report([run], folder / "report.html")
                except CalibError as error:  # the run is whole without it
                    print(f"note: there is no report: {terminal_safe(str(error))}")
        # The summary has the mini world's parts already.
        sliced = config.data.name != "mini"
        found = study.judged, results, chosen, axes, prompts
        outcome = Outcome(vlm.checkpoint, *found, config.mapping, sliced, reference)
        print(show(outcome, folder, files))


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
