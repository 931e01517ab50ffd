"""Run a sweep: apply calibration methods at a grid of layers and strengths and measure the effect.

Fits directions, generates and judges responses, scores them, and reports calibration against
utility.

    python -m calib.sweep method=steer model=internvl
"""

from calib.cli import command
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
    from contextlib import nullcontext
    from dataclasses import replace

    command.import_libraries()

    from calib.config.prompts import NoneMethod
    from calib.report.method_table import write_method_table
    from calib.report.page.write import write_report
    from calib.report.terminal import show_run
    from calib.runs.checks.context import within_context
    from calib.runs.checks.vllm import edits_activations
    from calib.runs.engines import claim_engine, engine_record, opened_backend, require_engine
    from calib.runs.estimate.plan import plan_sweep
    from calib.runs.estimate.text import plan_line
    from calib.runs.manifest import claim_folder, examples_identity
    from calib.runs.preflight import (
        check_sweep,
        load_inputs,
        methods_of,
        reference_of,
        sweep_notes,
    )
    from calib.runs.provenance import provenance, session_notes
    from calib.runs.row_store import ROWS_FILE, RowStore, locked
    from calib.runs.shards import SHARDS, Shard, ShardRecords, division, one_at_a_time
    from calib.runs.sweep import Sweep
    from calib.util.errors import CalibError
    from calib.util.progress import log_line, waiting
    from calib.util.terminal import terminal_safe

    # A reference that is not run does not identify the run.
    config = replace(config, reference=reference_of(config) or NoneMethod(), devices=None)
    method = config.experiment or config.method.name
    require_engine(config.engine)
    inputs = load_inputs(config, config.model.name, method, config.data.name)
    # Errors in the settings are raised before the folder is claimed.
    given_directions = check_sweep(config, inputs.model, inputs.benchmark)
    inputs = within_context(config, inputs)
    model, benchmark, utility = inputs.model, inputs.benchmark, inputs.utility.examples
    folder = inputs.folder
    notes = [*inputs.notes, *sweep_notes(config, model, benchmark.examples)]
    examples = examples_identity([*benchmark.examples, *utility])
    identity = inputs.identity | {"examples": examples} | given_directions
    edits = edits_activations(methods_of(config))
    shard = Shard.of(config.shard) if config.shard else None
    own_folder = shard.folder(folder) if shard else folder
    with (
        locked(folder, shared=shard is not None),
        locked(own_folder) if shard else nullcontext(),
        opened_backend(config.engine, config.model, model, edits) as backend,
    ):
        if backend is not None and shard:  # almost every shard has rows to make
            backend.start()
        facts = provenance() | inputs.record(notes) | engine_record(backend)
        with one_at_a_time(folder) if shard else nullcontext():
            manifest = claim_folder(folder, identity, facts, inputs.origin)
        if shard:
            identity |= division(config)
            claim_folder(own_folder, identity, facts, inputs.origin)
        with RowStore.open(own_folder / ROWS_FILE) as store:
            if backend is not None:
                backend.when_started(
                    lambda vllm: command.print_notes(claim_engine(folder, manifest, vllm))
                )
            store.shards = ShardRecords(folder, identity, shard, 60 * config.shard_wait)
            sweep = Sweep(config, model, benchmark, utility, folder, store, backend)
            header = f"Checkpoint {model.checkpoint}, judge {sweep.judging.judge.id}, run {folder}"
            print(terminal_safe(header))
            command.print_notes([*notes, *session_notes(manifest)])
            if store.finished:
                print(f"Resuming: {len(store.finished):,} rows are saved already.")
            if shard or not (folder / SHARDS).is_dir():  # joining shards generates little
                saved = len(store.finished)
                plan = plan_sweep(config, model, benchmark.examples, utility, sweep.engine, saved)
                log_line(plan_line(plan, saved, shard.count if shard else 1))
            run = sweep.run(manifest, lambda note: command.print_notes([note]))
        if run is None:
            rows = f"Shard {shard} is complete: its rows are in {own_folder}."
            print(terminal_safe(rows), "Run the command without shard to join all shards.")
            return
        files = run.write() | write_method_table(run)
        if config.report:
            with waiting("writing the report"):
                try:
                    files["report"] = write_report([run], folder / "report.html")
                except CalibError as error:  # the run is complete without a report
                    command.print_notes([f"there is no report: {error}"])
        print(show_run(run, files))


if __name__ == "__main__":
    command.run(main, "sweep", SweepConfig)
