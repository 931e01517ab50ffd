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
    from calib.runs.study import Study, choose
    from calib.runs.tables import write_tables
    from calib.scoring.metrics import score
    from calib.scoring.results import RunResults
    from calib.vlm.load import load

    vlm = load(config.model)
    benchmark = load_benchmark(config.data, config.seed)
    utility = load_utility(config.utility, config.seed)
    names = (config.model.name, config.method.name, config.data.name)
    folder = Path(config.out) if config.out else folder_name(names, config)
    identity = identity_of(config) | {
        "checkpoint": vlm.checkpoint,
        "fingerprint": vlm.fingerprint,
        "examples": len(benchmark.examples),
    }
    with locked(folder):
        check_same_run(folder, identity, provenance() | {"notes": benchmark.notes})
        with Rows.open(folder / "rows.jsonl") as record:
            study = Study(config, vlm, benchmark, utility, folder, record)
            print(f"Checkpoint {printable(vlm.checkpoint)}, judge {study.judge}, run {folder}")
            for note in benchmark.notes:
                print(f"note: {printable(note)}")
            if record.finished:
                print(f"{len(record.finished)} rows were answered before and are not done again.")

            settings = study.settings()
            validated = study.validate(settings)
            layer, choice = choose(score(validated, config.mapping))
            study.test(settings, layer)
            labels = study.write_labels()

        results = score(study.judged, config.mapping)
        files = write_tables(folder, config, vlm, results, layer, choice)
        drawn = trade_off(RunResults(folder.name, vlm.checkpoint, results), folder / "trade_off")
        files |= {"labels": labels, "figure": drawn[0]}
    print(summary(study.judged, choice, vlm.checkpoint, files, mapping=config.mapping))


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
