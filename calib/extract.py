"""Read a model's activations on contrastive safe/unsafe pairs and fit a direction per layer.

python -m calib.extract model=internvl data=mini
"""

from calib.cli import command
from calib.config.sweep import ExtractConfig


def main(config: ExtractConfig) -> None:
    """Fit the direction that ``config`` describes and write it with its AUROC per layer."""
    from pathlib import Path

    from calib.data.benchmarks import load_benchmark, load_utility
    from calib.directions.direction import write_direction
    from calib.interventions.grid import resolve_layers
    from calib.models.load import load
    from calib.report.direction_table import direction_table
    from calib.report.figures import layers, projections
    from calib.report.figures.io import NotDrawn, save
    from calib.runs.manifest import claim_folder, identity_of, provenance, run_folder
    from calib.runs.row_store import ROWS_FILE, RowStore, locked
    from calib.runs.run import Run
    from calib.runs.run_files import EXTRACTED
    from calib.runs.sweep import extract
    from calib.util.terminal import terminal_safe

    vlm = load(config.model)
    benchmark = load_benchmark(config.data)
    questions = load_utility(config.utility, 0, config.data.system)
    notes = [*benchmark.notes, *questions.notes]
    names = ("extract", config.model.name, config.data.name)
    named = Path(config.out).expanduser() if config.out else None
    folder = named or run_folder(names, config, vlm.fingerprint)
    resolve_layers(vlm, config.layers)
    identity = identity_of(config) | {"checkpoint": vlm.checkpoint, "fingerprint": vlm.fingerprint}
    for note in notes:
        print(f"note: {terminal_safe(note)}")
    with locked(folder), RowStore.open(folder / ROWS_FILE) as record:
        claim_folder(folder, {"extract": identity}, provenance() | {"notes": notes})
        asked = benchmark.examples, questions.examples
        direction, computed = extract(config, vlm, *asked, folder, record)
        for note in computed:
            print(f"note: {terminal_safe(note)}")
        files = {"direction": folder / EXTRACTED}
        write_direction(files["direction"], direction)
        run = Run(folder)
        for name, draw in (("layers", layers.draw), ("projections", projections.draw)):
            try:
                files[name] = save(draw([run], 1), folder / name)[0]
            except NotDrawn as error:
                print(f"note: {terminal_safe(str(error))}")
    print(direction_table(direction, files))


if __name__ == "__main__":
    command.run(main, "extract", ExtractConfig)
