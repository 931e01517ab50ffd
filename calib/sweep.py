"""The main job: fit directions, apply a calibration method at a grid of layers and strengths,
generate, judge, score, and show calibration against utility.

    python -m calib.sweep method=steer model=internvl
"""

from calib import command
from calib.config import SweepConfig


def main(config: SweepConfig) -> None:
    """Run the sweep that ``config`` describes, or go on with it where it stopped."""
    from pathlib import Path

    from calib.data.benchmarks import load_benchmark, load_utility
    from calib.report.figures import trade_off
    from calib.report.terminal import printable, summary
    from calib.runs.identity import check_same_run, folder_name, identity_of
    from calib.runs.provenance import provenance
    from calib.runs.record import Rows, locked
    from calib.runs.study import (
        ROWS_FILE,
        Study,
        check,
        choose,
        examples_identity,
        is_unfinished,
        meaning,
    )
    from calib.runs.tables import write_tables
    from calib.scoring.metrics import score
    from calib.scoring.results import RunResults
    from calib.vlm.load import load

    vlm = load(config.model)
    benchmark = load_benchmark(config.data, config.seed)
    utility = load_utility(config.utility, config.seed, config.data.system)
    names = (config.model.name, config.method.name, config.data.name)
    named = Path(config.out).expanduser() if config.out else None
    folder = named or folder_name(names, config, vlm.fingerprint)
    # Whatever is wrong with the settings is said before the folder becomes this run's.
    extra = check(config, vlm, benchmark)
    notes = [*benchmark.notes, *meaning(config, vlm, benchmark.examples)]
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
        with Rows.open(folder / ROWS_FILE) as record:
            study = Study(config, vlm, benchmark, utility, folder, record)
            print(f"Checkpoint {printable(vlm.checkpoint)}, judge {study.judge}, ", end="")
            print(f"run {printable(str(folder))}")
            for note in notes:
                print(f"note: {printable(note)}")
            if record.finished:
                print(f"{len(record.finished)} rows were answered before and are not done again.")

            settings = study.settings()
            validated = study.validate(settings)
            layer, choice = choose(score(validated, config.mapping))
            study.test(settings, layer)
            labels = study.write_labels()
            for note in study.engine.notes:
                print(f"note: {printable(note)}")

        results = score(study.judged, config.mapping)
        files = write_tables(folder, config, vlm, results, layer, choice)
        drawn = trade_off(RunResults(folder.name, vlm.checkpoint, results), folder / "trade_off")
        files |= {"labels": labels, "figure": drawn[0]}
    print(summary(study.judged, choice, vlm.checkpoint, files, mapping=config.mapping))


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
