"""A whole sweep: check the settings, claim the folder, and run or resume all steps."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from calib.config.prompts import NoneMethod
from calib.config.sweep import SweepConfig
from calib.models.load import AnyModel
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
from calib.runs.run import Run
from calib.runs.shards import SHARDS, Shard, ShardRecords, division, one_at_a_time
from calib.runs.sweep import Sweep
from calib.util.progress import log_line


def perform(
    config: SweepConfig,
    model: AnyModel | None,
    say: Callable[[str], None],
    note: Callable[[Iterable[str]], None],
    finish: Callable[[Run], None],
    command: str | None = None,
) -> Run | Path:
    """Run the sweep that ``config`` describes, or resume it where it was interrupted.

    ``model`` is the one of config.model, if it is loaded already. ``say`` receives lines about the
    progress, ``note`` notes on the result, and ``finish`` the run in memory, whose files it writes
    while the folder is locked. ``command`` repeats the run, for its record. Returns that run; of a
    shard, the folder of its rows.

    Raises CalibError for settings that cannot work, before the folder is claimed, and when a step
    fails; recorded rows are kept.
    """
    # A reference that is not run does not identify the run.
    config = replace(config, reference=reference_of(config) or NoneMethod(), devices=None)
    method = config.experiment or config.method.name
    require_engine(config.engine)
    inputs = load_inputs(config, config.model.name, method, config.data.name, model=model)
    # Errors in the settings are raised before the folder is claimed.
    given_directions = check_sweep(config, inputs.model, inputs.benchmark)
    inputs = within_context(config, inputs)
    loaded, benchmark, utility = inputs.model, inputs.benchmark, inputs.utility.examples
    folder = inputs.folder
    notes = [*inputs.notes, *sweep_notes(config, loaded, benchmark.examples)]
    examples = examples_identity([*benchmark.examples, *utility])
    identity = inputs.identity | {"examples": examples} | given_directions
    edits = edits_activations(methods_of(config))
    shard = Shard.of(config.shard) if config.shard else None
    own_folder = shard.folder(folder) if shard else folder
    with (
        locked(folder, shared=shard is not None),
        locked(own_folder) if shard else nullcontext(),
        opened_backend(config.engine, config.model, loaded, edits) as backend,
    ):
        if backend is not None and shard:  # almost every shard has rows to make
            backend.start()
        facts = provenance(command) | inputs.record(notes) | engine_record(backend)
        with one_at_a_time(folder) if shard else nullcontext():
            manifest = claim_folder(folder, identity, facts, inputs.origin)
        if shard:
            identity |= division(config)
            claim_folder(own_folder, identity, facts, inputs.origin)
        with RowStore.open(own_folder / ROWS_FILE) as store:
            if backend is not None:
                backend.when_started(lambda vllm: note(claim_engine(folder, manifest, vllm)))
            store.shards = ShardRecords(folder, identity, shard, 60 * config.shard_wait)
            sweep = Sweep(config, loaded, benchmark, utility, folder, store, backend)
            header = f"Checkpoint {loaded.checkpoint}, judge {sweep.judging.judge.id}, "
            measured = "" if utility else " (helpfulness is not measured)"
            header += f"utility {config.utility.name}{measured}, run {folder}"
            say(header)
            note([*notes, *session_notes(manifest)])
            if store.finished:
                say(f"Resuming: {len(store.finished):,} rows are saved already.")
            if shard or not (folder / SHARDS).is_dir():  # joining shards generates little
                saved = len(store.finished)
                plan = plan_sweep(config, loaded, benchmark.examples, utility, sweep.engine, saved)
                log_line(plan_line(plan, saved, shard.count if shard else 1))
            run = sweep.run(manifest, lambda text: note([text]))
        if run is None:
            return own_folder
        finish(run)
    return run
