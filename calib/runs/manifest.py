"""The manifest of a run folder, run.json, which decides whether recorded rows can be reused.

"identity" is everything that must agree for rows to belong together, "provenance" how the run was
made, "model" the weights and settings behind the fingerprint, and "sessions" the versions and
threads under which it was resumed, where they are others. None of them identifies a machine: no
host or user names, paths other than those of settings, or environment variables.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from calib.config.typed import DEFAULT_ENGINE, current_names, former_names, without_added
from calib.data.example import Example
from calib.directions.origin import differences, shown
from calib.runs.provenance import is_known_session, session_of
from calib.runs.row_store import ROWS_FILE
from calib.runs.run_files import DIRECTIONS
from calib.util.checksums import checked_object, read_checked_object
from calib.util.errors import CalibError
from calib.util.files import typed_object, write_atomically
from calib.util.listing import shortened
from calib.util.reading import file_bytes, parse_json

RUN_FILE = "run.json"
# Settings that change where or how fast rows are made, or how they are scored, but not the rows: a
# run that ran out of memory resumes with smaller batches, and is scored again by another mapping or
# rule of choice.
NOT_IDENTITY = (
    "out",
    "generation.batch_rows",
    "generation.memory_gb",
    "generation.sharing",
    "batch_rows",
    "choose",
    "mapping",
    "report",
    "shard",
    "devices",
    "shard_wait",
    "model.accept_directions",
    "data.skip_long",  # run.json records the examples that it leaves out
    *(
        f"engine.{setting}"
        for setting in (
            "base_url",
            "tensor_parallel",
            "pipeline_parallel",
            "data_parallel",
            "max_model_len",
            "gpu_memory_utilization",
            "rows_in_flight",
            "served_model",
            "restart_wait",
            "hooks",
            "weights",  # decides about the fingerprint
        )
    ),
    *(
        f"{group}.{setting}"
        for group in ("model", "judge", "engine")
        for setting in ("key_env", "concurrency", "timeout", "retries", "max_requests", "note")
    ),
)
_MOST_CHANGES_SHOWN = 8


def identity_of(config: object) -> dict[str, Any]:
    """The part of a configuration (a dataclass of calib.config) that decides a run's rows."""
    assert dataclasses.is_dataclass(config) and not isinstance(config, type)
    settings = _as_json(dataclasses.asdict(config))
    for key in NOT_IDENTITY:
        *groups, last = key.split(".")
        group_settings = settings
        for group in groups:
            group_settings = group_settings.get(group, {})
        group_settings.pop(last, None)
    return settings


def examples_identity(examples: Sequence[Example]) -> str:
    """Number and hash of the examples of a run, without pictures, which row ids include."""
    text = "\n".join(f"{e.id} {e.split} {e.query!r} {e.system!r}" for e in examples)
    return f"{len(examples)} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def run_folder(names: Sequence[str], config: object, fingerprint: str = "") -> Path:
    """The default folder of a run: ``names`` (model, method, data), then a hash.

    The hash is of ``config`` and the ``fingerprint`` of the weights: the same command finds its
    rows, and new weights of an old name get another folder.
    """
    # Under their first names, so that a renamed setting does not move the run to another folder.
    settings = former_names(identity_of(config))
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256((canonical + fingerprint).encode()).hexdigest()[:8]
    return Path("runs") / "-".join([*map(_file_name, names), digest])


def claim_folder(
    folder: str | Path,
    identity: Mapping[str, Any],
    provenance: Mapping[str, Any],
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make ``folder`` the run of ``identity``, or check that it is, so that its rows can be reused.

    ``provenance`` is recorded when the run starts and never compared; neither is the ``origin`` of
    a model with weights (its weights and settings by field), which explains another fingerprint. A
    run that has no rows and no directions yet is replaced. Where another session resumes a run
    under other versions or threads, it is added to "sessions". Returns the content of run.json.

    Raises CalibError, naming the differences, when the folder contains another run.
    """
    path = Path(folder) / RUN_FILE
    identity = _as_json(identity)
    manifest = read_manifest(folder) if path.exists() else None
    changes = list(_changes(*_comparable(manifest["identity"], identity))) if manifest else []
    if manifest is None or (changes and not holds_work(Path(folder))):
        manifest = {"identity": identity, "provenance": _as_json(provenance)}
        if origin is not None:
            manifest["model"] = _as_json(origin)
        write_manifest(folder, manifest)
        return manifest
    if changes and all(change.startswith("fingerprint: ") for change in changes):
        fields = differences(manifest.get("model") or {}, _as_json(origin or {}))
        changes += [f"model: {difference}" for difference in shown(fields)]
    _require_no_changes(folder, changes)
    session = session_of(_as_json(provenance), origin or {})
    if holds_work(Path(folder)) and not is_known_session(manifest, session):
        manifest["sessions"] = [*manifest.get("sessions", []), session]
        write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: str | Path, manifest: Mapping[str, Any]) -> None:
    """Write the content of run.json."""
    path = Path(folder) / RUN_FILE
    checked = checked_object(manifest)
    write_atomically(path, json.dumps(checked, indent=2, ensure_ascii=False) + "\n")


def require_same_run(folder: str | Path, identity: Mapping[str, Any]) -> None:
    """Raise CalibError, naming the differences, unless ``folder`` contains rows of this run.

    Only settings that ``identity`` has are compared.
    """
    there, now = _comparable(read_manifest(folder)["identity"], _as_json(identity))
    shared = {name: value for name, value in there.items() if name in now}
    _require_no_changes(folder, list(_changes(shared, now)))


def _comparable(
    there: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two identities without settings that were added later and have the value from before; two
    engines by name."""
    both = without_added(there), without_added(now)
    names = [settings.get("engine", DEFAULT_ENGINE).get("name") for settings in both]
    if names[0] != names[1]:
        for settings, name in zip(both, names, strict=True):
            settings["engine"] = name
    return both


def _require_no_changes(folder: str | Path, changes: Sequence[str]) -> None:
    if not changes:
        return
    listed = "\n".join(f"  {change}" for change in shortened(changes, _MOST_CHANGES_SHOWN))
    raise CalibError(
        "different-run",
        f"{folder} contains a run with a different configuration (there → now):\n{listed}\n"
        "Give another folder with out=FOLDER, or restore the configuration of the run.",
    )


def holds_work(folder: Path) -> bool:
    """Whether a folder contains rows or directions."""
    rows = folder / ROWS_FILE
    return (rows.exists() and rows.stat().st_size > 0) or (folder / DIRECTIONS).exists()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The content of run.json, with present names of settings in its identity.

    Raises CalibError when there is none, or it is damaged.
    """
    path = Path(folder) / RUN_FILE
    try:
        manifest = parse_json(file_bytes(path))
    except FileNotFoundError as error:
        raise CalibError(
            "unfinished-run",
            f"{folder} is not the folder of a run: it has no {RUN_FILE}. Give the folder that "
            "calib.sweep prints.",
        ) from error
    except (OSError, ValueError) as error:
        raise CalibError(
            "unreadable",
            f"{path} cannot be read ({error}). Restore a copy of it, or run the command again with "
            "another out=FOLDER.",
        ) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("identity"), dict):
        raise CalibError(
            "invalid-content", f"{path} has no 'identity'. Run the command again in a new folder."
        )
    try:
        manifest = read_checked_object(manifest)
        _check_types(manifest)
    except ValueError as error:
        raise CalibError(
            "invalid-content",
            f"{path} was changed by the disk or another program: {error}. Restore a copy of it, "
            "or run the command again with another out=FOLDER.",
        ) from error
    return {**manifest, "identity": current_names(manifest["identity"])}


def _check_types(manifest: Mapping[str, Any]) -> None:
    """Raise ValueError for parts of run.json that are of other types than calib writes."""
    details = {"provenance": dict, "model": dict | None, "sessions": list}
    provenance = {"packages": dict, "left_out": list, "notes": list, "command": str}
    typed_object(manifest, {}, "it", details)
    typed_object(manifest.get("provenance", {}), {}, "its provenance", provenance)
    for session in manifest.get("sessions", []):
        typed_object(session, {}, "a session")


def _file_name(name: str) -> str:
    # Names may come from third-party files: nothing in them may lead out of the folder of runs.
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("._")[:40] or "unnamed"


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _changes(old: Any, new: Any, key: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            yield from _changes(old.get(name), new.get(name), inner)
    elif old != new:
        yield f"{key}: {json.dumps(old)} → {json.dumps(new)}"
