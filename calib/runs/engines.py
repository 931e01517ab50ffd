"""The engine of a run, and the vLLM behind it."""

from collections.abc import Iterator, Mapping
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
from calib.engine.vllm.probe import probe, probe_hook
from calib.engine.vllm.request import Backend
from calib.models.load import VLM, AnyModel, mini_folder
from calib.models.remote import RemoteModel
from calib.util.errors import CalibError
from calib.util.progress import waiting

EditingEngine = Engine | vllm.VllmEngine
"""Engines that edit activations and measure KL."""

AnyEngine = EditingEngine | RemoteEngine

PROBE = "What is in the picture?"
"""Prompt of the probe of vLLM's edits."""
COMPARED = ("vllm", "dtype", "quantization", "kv_cache_dtype")
"""Fields of a backend's description in which all rows of a run agree."""


@contextmanager
def opened_backend(
    choice: EngineChoice, config: ModelChoice, model: AnyModel, edits: bool
) -> Iterator[Backend | None]:
    """vLLM as ``choice`` describes it, closed at the end; None for calib's own engine.

    ``edits`` says that activations are edited or read, so that vllm-lens is needed. Raises
    CalibError when vLLM cannot be started or reached, or (self-check) does not edit activations.
    """
    if not isinstance(choice, VllmChoice):
        yield None
        return
    assert isinstance(config, ModelConfig) and isinstance(model, VLM), "preflight checks it"
    backend: Backend
    if choice.urls:
        from calib.engine.vllm.server.backend import ServerBackend

        backend = ServerBackend(choice, config.checkpoint or str(mini_folder()))
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
        yield backend
    finally:
        backend.close()


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


def engine_record(backend: Backend | None) -> dict[str, Any]:
    """What run.json records of vLLM; empty for calib's own engine."""
    return {} if backend is None else {"engine": backend.describe()}


def require_same_vllm(folder: Path, manifest: Mapping[str, Any], backend: Backend | None) -> None:
    """Refuse to add rows to a folder whose rows come from another version or number format of vLLM.

    Raises CalibError (different-run), naming the fields.
    """
    before = manifest.get("provenance", {}).get("engine") or {}
    now = {} if backend is None else backend.describe()
    changes = [
        f"{name}: {before[name]} → {now[name]}"
        for name in COMPARED
        if before.get(name) is not None and now.get(name) not in (None, before[name])
    ]
    if changes:
        raise CalibError(
            "different-run",
            f"{folder} has rows of another vLLM (there → now): {', '.join(changes)}. Use the one "
            "of before, or give another folder with out=FOLDER.",
        )
