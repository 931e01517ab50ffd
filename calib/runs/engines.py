"""The engine of a run, and the vLLM behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from calib.config.engine import EngineChoice, VllmChoice
from calib.config.model import ModelChoice, ModelConfig
from calib.engine.engine import Engine
from calib.engine.reading import ModelReader, Reader
from calib.engine.remote import RemoteEngine
from calib.engine.request import Decoding
from calib.engine.vllm import engine as vllm
from calib.engine.vllm.deferred import Deferred
from calib.engine.vllm.packages import require_packages
from calib.engine.vllm.probe import probe, probe_hook
from calib.engine.vllm.request import Backend
from calib.models.load import VLM, AnyModel, source_of
from calib.models.remote import RemoteModel
from calib.runs.manifest import holds_work, write_manifest
from calib.runs.shards import SHARDS
from calib.util.errors import CalibError
from calib.util.progress import waiting

EditingEngine = Engine | vllm.VllmEngine
"""Engines that edit activations and measure KL."""

AnyEngine = EditingEngine | RemoteEngine

PROBE = "What is in the picture?"
"""Prompt of the probe of vLLM's edits."""
COMPARED = ("vllm", "dtype", "quantization", "kv_cache_dtype")
"""Fields of a backend's description in which all rows of a run agree."""


def require_engine(choice: EngineChoice) -> None:
    """Raise CalibError (needs-package) for vLLM without its packages, before anything is loaded."""
    if isinstance(choice, VllmChoice):
        require_packages(choice)


@contextmanager
def opened_backend(
    choice: EngineChoice, config: ModelChoice, model: AnyModel, edits: bool
) -> Iterator[Deferred | None]:
    """vLLM as ``choice`` describes it, started when it is needed and closed at the end; None for
    calib's own engine.

    ``edits`` says that activations are edited or read, so that vllm-lens is needed. The start
    raises CalibError when vLLM cannot be started or reached, or (self-check) does not edit
    activations.
    """
    if not isinstance(choice, VllmChoice):
        yield None
        return
    assert isinstance(config, ModelConfig) and isinstance(model, VLM), "preflight checks it"
    backend = Deferred(choice, lambda: _started(choice, config, model, edits))
    try:
        yield backend
    finally:
        backend.close()


def _started(choice: VllmChoice, config: ModelConfig, model: VLM, edits: bool) -> Backend:
    backend: Backend
    if choice.urls:
        from calib.engine.vllm.server.backend import ServerBackend

        backend = ServerBackend(choice, source_of(config.checkpoint))
    else:
        from calib.engine.vllm.in_process import InProcess

        with waiting("loading the model into vLLM"):
            backend = InProcess(choice, config)
    try:
        if edits:
            messages = [{"role": "user", "content": PROBE}]
            probe(backend, messages, model.width, model.num_layers)
            if choice.urls and choice.hooks:
                probe_hook(backend, messages, model.width)
    except BaseException:
        backend.close()
        raise
    return backend


def engine_of(
    choice: EngineChoice,
    model: AnyModel,
    decoding: Decoding,
    backend: Backend | None = None,
    skip_long: bool = False,
) -> AnyEngine:
    """The engine for a model, on ``backend`` where there is one."""
    if isinstance(model, RemoteModel):
        return RemoteEngine(model, decoding, skip_long)
    if backend is None:
        return Engine(model, decoding)
    assert isinstance(choice, VllmChoice)
    return vllm.VllmEngine(model, decoding, backend, choice.first_token, skip_long)


def reader_of(engine: AnyEngine) -> Reader | None:
    """Reads activations through vLLM where it is the engine, and with the weights otherwise."""
    if isinstance(engine, vllm.VllmEngine):
        return engine
    return ModelReader(engine.vlm) if isinstance(engine.vlm, VLM) else None


def engine_record(backend: Deferred | None) -> dict[str, Any]:
    """What run.json records of vLLM; empty for calib's own engine, and before vLLM is started."""
    return {} if backend is None or not backend.is_started else {"engine": backend.describe()}


def claim_engine(folder: Path, manifest: dict[str, Any], backend: Backend) -> list[str]:
    """Record the vLLM of a run in run.json, whose content is ``manifest``; or, where the folder has
    rows, check that they come from the same version and number format.

    Returns a note on what this vLLM does not say. Raises CalibError (different-run), naming the
    fields that differ.
    """
    provenance, now = manifest.setdefault("provenance", {}), backend.describe()
    before = provenance.get("engine") or {}
    has_rows = holds_work(folder) or (folder / SHARDS).is_dir()
    if not before or not has_rows:
        if before != now:
            provenance["engine"] = now
            write_manifest(folder, manifest)
        return []
    known = [name for name in COMPARED if before.get(name) is not None]
    changes = [
        f"{name}: {before[name]} → {now[name]}"
        for name in known
        if now.get(name) not in (None, before[name])
    ]
    if changes:
        raise CalibError(
            "different-run",
            f"{folder} has rows of another vLLM (there → now): {', '.join(changes)}. Use the one "
            "of before, or give another folder with out=FOLDER.",
        )
    unknown = [f"{name} {before[name]}" for name in known if now.get(name) is None]
    if not unknown:
        return []
    return [
        f"the rows of this run so far come from a vLLM with {', '.join(unknown)}; the present one "
        "does not report this"
    ]
