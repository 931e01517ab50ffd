"""Settings of the engine that generates responses and reads activations."""

from dataclasses import dataclass
from typing import Any

from calib.config.checks import (
    address,
    at_least_one,
    between,
    environment,
    not_blank,
    not_empty,
    positive,
)
from calib.util.errors import CalibError

_IN_PROCESS = {
    "tensor_parallel": 1,
    "pipeline_parallel": 1,
    "data_parallel": 1,
    "max_model_len": None,
    "gpu_memory_utilization": None,
    "extra": None,
}
"""Settings of vLLM in this process, with their defaults; a server has its own."""


_NEEDED = "what calib does on vLLM needs its own value"
_SET_ELSEWHERE = {
    "model": "give model.checkpoint",
    "tokenizer": "give model.checkpoint",
    "revision": "give model.revision",
    "tokenizer_revision": "give model.revision",
    "dtype": "give model.dtype",
    "max_model_len": "give engine.max_model_len",
    "gpu_memory_utilization": "give engine.gpu_memory_utilization",
    "max_num_seqs": "give engine.rows_in_flight",
    "tensor_parallel_size": "give engine.tensor_parallel",
    "pipeline_parallel_size": "give engine.pipeline_parallel",
    "data_parallel_size": "give devices=all",
    "mm_processor_kwargs": "give model.tiles, model.max_pixels or model.min_pixels",
    "chat_template": "give model.chat_template",
    "seed": "each row has a seed of its own, derived from the setting seed",
    "override_generation_config": "give generation.temperature and generation.top_p",
    "generation_config": "requests state all settings of generation",
    "max_logprobs": "KL needs all log-probabilities, or engine.first_token",
    "enable_prefix_caching": "edits change what a cache of prefixes holds",
    "enforce_eager": "hooks need eager mode",
    "trust_remote_code": "calib never runs code of a checkpoint",
    "hf_overrides": "rows would be of another model than their record says",
    "load_format": "rows would be of other weights than their record says",
    "enable_lora": "rows would be of other weights than their record says",
    "speculative_config": _NEEDED,
    "logits_processors": _NEEDED,
    "worker_extension_cls": _NEEDED,
    "runner": _NEEDED,
}
"""Arguments of vllm.LLM that engine.extra does not take, and the reason or what to give instead."""


@dataclass
class EngineChoice:
    """The choice of an engine: calib's own, on transformers and in this process, which is the
    reference for every other engine."""

    name: str = "transformers"
    """Name of the engine."""


@dataclass
class VllmChoice(EngineChoice):
    """vLLM with the plugin vllm-lens, in this process or behind a server."""

    name: str = "vllm"
    base_url: Any = None
    """Address of a vLLM server with vllm-lens, or a list of addresses of replicas, e.g.
    http://localhost:8000; null runs vLLM in this process."""
    key_env: str = "VLLM_API_KEY"
    """Environment variable that holds the server's API key; servers on this machine need none."""
    tensor_parallel: int = 1
    """vLLM's tensor_parallel_size: GPUs that share each layer. In process only."""
    pipeline_parallel: int = 1
    """vLLM's pipeline_parallel_size: groups of GPUs that each hold some layers. In process only."""
    data_parallel: int = 1
    """vLLM's data_parallel_size: copies of the model. vLLM has them behind servers only: in this
    process, devices=all starts a shard per GPU instead."""
    max_model_len: int | None = None
    """Largest number of tokens of a prompt and its response; null means the model's own limit. In
    process only."""
    gpu_memory_utilization: float | None = None
    """Share of the GPU's memory that vLLM may use; null means vLLM's own default. On a CPU it is a
    share of main memory, and null means half of what is free. In process only."""
    extra: Any = None
    """Further arguments of vllm.LLM, by vLLM's names, e.g. {kv_cache_dtype: fp8}; not those that
    calib sets itself, such as model, dtype and seed. In process only."""
    rows_in_flight: int = 64
    """Requests that each replica works on at once."""
    served_model: str | None = None
    """Name of the model as the server lists it; null finds it by the name of the checkpoint."""
    timeout: float = 600.0
    """Seconds after which a request to a server is cancelled and sent again."""
    retries: int = 8
    """Number of times that a request is sent again, after its server failed or was killed."""
    restart_wait: float = 10.0
    """Minutes without any server that answers after which the run ends; its rows are saved."""
    hooks: bool = False
    """Allow code to be sent to the server, which every edit needs but an addition to all tokens. A
    hook is a pickled Python function that the server executes: allow it only on a server of your
    own. vLLM in this process needs no permission."""
    weights: bool = True
    """Load the checkpoint in transformers too, for the comparison of the first rows with it. false
    reads the config and the processor only, and compares rows with the edit off and on."""
    first_token: Any = "full"
    """Log-probabilities of the first response token that KL is computed from: full (the whole
    vocabulary), or the number of the most likely tokens: KL is then a lower bound, from those that
    both sides return and the rest as one. A server limits the number by --max-logprobs; -1 lifts
    the limit."""

    def __post_init__(self) -> None:
        for url in self.urls:
            address("engine.base_url", url, "engine.key_env")
        environment("engine.key_env", self.key_env)
        not_blank("engine.served_model", self.served_model)
        for key in ("tensor_parallel", "pipeline_parallel", "data_parallel", "max_model_len",
                    "rows_in_flight"):  # fmt: skip
            at_least_one(f"engine.{key}", getattr(self, key))
        if self.gpu_memory_utilization is not None:
            between("engine.gpu_memory_utilization", self.gpu_memory_utilization, 0.01, 1.0)
        positive("engine.timeout", self.timeout)
        positive("engine.restart_wait", self.restart_wait)
        between("engine.retries", self.retries, 0, 1000)
        count = self.first_token
        is_count = isinstance(count, int) and not isinstance(count, bool) and count >= 1
        if count != "full" and not is_count:
            raise CalibError(
                "invalid-setting",
                f"engine.first_token: {count!r} is neither full nor a number of tokens. Give full, "
                "or a number from 1 on, e.g. 1000.",
            )
        if not isinstance(self.extra, dict | None):
            raise CalibError(
                "invalid-setting",
                f"engine.extra: {self.extra!r} is not a table. Give arguments of vllm.LLM by name: "
                "engine.extra={kv_cache_dtype: fp8}.",
            )
        for name in self.extra or {}:
            if advice := _SET_ELSEWHERE.get(name):
                raise CalibError(
                    "conflicting-settings",
                    f"engine.extra={{{name}: ...}}: calib sets this argument of vllm.LLM itself "
                    f"({advice}). Omit it from engine.extra.",
                )
        if self.urls:
            self._check_servers()

    def _check_servers(self) -> None:
        """Raise CalibError for settings of vLLM in this process, and for a server given twice."""
        for key, default in _IN_PROCESS.items():
            if getattr(self, key) != default:
                raise CalibError(
                    "conflicting-settings",
                    f"engine.{key}={getattr(self, key)} is of vLLM in this process, and "
                    "engine.base_url gives a server, which has its own. Give it to the server when "
                    "it is started, and omit it here.",
                )
        servers = [url.removesuffix("/v1") for url in self.urls]
        for url in servers:
            if servers.count(url) > 1:
                raise CalibError(
                    "duplicate",
                    f"engine.base_url has {url} twice, which would double its rows in flight. "
                    "Give each server once.",
                )

    @property
    def urls(self) -> list[str]:
        """The addresses of the servers; none where vLLM runs in this process."""
        if self.base_url is None:
            return []
        urls = [self.base_url] if isinstance(self.base_url, str) else self.base_url
        if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
            raise CalibError(
                "invalid-setting",
                f"engine.base_url: {self.base_url!r} is neither an address nor a list of them. "
                "Give the address of a server, e.g. engine.base_url=http://localhost:8000.",
            )
        return [url.rstrip("/") for url in not_empty("engine.base_url", list(urls))]
