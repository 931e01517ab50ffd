"""Fit a direction per layer to a model's activations on pairs of a safe and an unsafe example.

python -m calib.extract model=internvl data=mini
"""

from calib.cli import command
from calib.cli.repeating import repeating_command
from calib.config.sweep import ExtractConfig


def main(config: ExtractConfig) -> None:
    """Fit the direction that ``config`` describes, write it, and print its AUROC per layer."""
    command.import_libraries()

    from calib.directions.direction import write_direction
    from calib.interventions.grid import resolve_layers
    from calib.models.load import VLM
    from calib.report.direction_table import direction_table
    from calib.report.figures import layers, projections
    from calib.report.figures.io import NotDrawn, save
    from calib.runs.checks.context import within_context
    from calib.runs.engines import claim_engine, opened_backend, require_engine
    from calib.runs.extraction import extract
    from calib.runs.manifest import claim_folder
    from calib.runs.preflight import load_inputs
    from calib.runs.provenance import provenance, session_notes
    from calib.runs.row_store import ROWS_FILE, RowStore, locked
    from calib.runs.run import Run
    from calib.runs.run_files import EXTRACTED

    require_engine(config.engine)
    inputs = load_inputs(config, "extract", config.model.name, config.data.name)
    vlm, folder = inputs.model, inputs.folder
    assert isinstance(vlm, VLM)
    resolve_layers(vlm, config.layers, config.site)
    inputs = within_context(config, inputs)
    command.print_notes(inputs.notes)
    with (
        locked(folder),
        RowStore.open(folder / ROWS_FILE) as store,
        opened_backend(config.engine, config.model, vlm, edits=True) as backend,
    ):
        made = provenance(repeating_command()) | inputs.record(inputs.notes)
        manifest = claim_folder(folder, {"extract": inputs.identity}, made, inputs.origin)
        if backend is not None:
            backend.when_started(
                lambda vllm: command.print_notes(claim_engine(folder, manifest, vllm))
            )
        command.print_notes(session_notes(manifest))
        examples = inputs.benchmark.examples, inputs.utility.examples
        direction, notes = extract(config, vlm, *examples, folder, store, backend)
        command.print_notes(notes)
        files = {"direction": folder / EXTRACTED}
        write_direction(files["direction"], direction)
        run = Run(folder)
        for name, draw in (("layers", layers.draw), ("projections", projections.draw)):
            try:
                files[name] = save(draw([run], 1), folder / name)[0]
            except NotDrawn as error:
                command.print_notes([str(error)])
    parts = next(iter(run.part_separations.values()), [])
    print(direction_table(direction, files, parts))


if __name__ == "__main__":
    command.run(main, "extract", ExtractConfig)
