"""Settings that vLLM cannot carry out, refused before a run starts."""

from collections.abc import Sequence

from calib.config.engine import EngineChoice, VllmChoice
from calib.config.method import (
    Ablation,
    Activation,
    Adaptive,
    Astra,
    Combine,
    Nullspace,
    Subspace,
)
from calib.config.model import ModelChoice, ModelConfig
from calib.config.prompts import MethodConfig
from calib.config.sweep import ExtractConfig
from calib.models.checkpoints.own_tower import NOT_READ, has_own_tower
from calib.util.errors import CalibError

_INSIDE = {"iar_head": "attention heads", "vti": "outputs of the MLP"}
"""Methods that edit inside a decoder block, and what they edit."""
_PLAIN = ("add", "add_by_norm")
"""Operators that are steering vectors of vllm-lens, where they edit all positions."""
_OWN_SERVER = (
    "hooks are code, which a server runs only with engine.hooks=true. Give it if the server is "
    "your own"
)


def check_engine(choice: EngineChoice, model: ModelChoice) -> None:
    """Raise CalibError for vLLM with a remote model, with a model that it does not read, with
    quantization by transformers, or with copies of the model in this process."""
    if not isinstance(choice, VllmChoice):
        return
    if not isinstance(model, ModelConfig):
        raise CalibError(
            "conflicting-settings",
            f"engine=vllm runs a model with weights, and model={model.name} is behind an endpoint. "
            "For a vLLM server of your own give model=hf model.checkpoint=ID "
            "engine.base_url=ADDRESS, or omit engine=vllm.",
        )
    if has_own_tower(model.checkpoint):
        raise CalibError(
            "unsupported",
            f"model.checkpoint={model.checkpoint} {NOT_READ.format('vLLM')}. Use "
            "engine=transformers.",
        )
    if choice.data_parallel > 1:
        raise CalibError(
            "unsupported",
            f"engine.data_parallel={choice.data_parallel}: vLLM has no copies of a model in one "
            "process. Give devices=all, which starts a shard per GPU, or engine.base_url of a "
            "server (vllm serve --data-parallel-size).",
        )
    if model.quantization is not None:
        raise CalibError(
            "unsupported",
            f"model.quantization={model.quantization} is of transformers. For vLLM omit it and "
            "give engine.extra={quantization: bitsandbytes}, or start the server with "
            "--quantization bitsandbytes.",
        )


def check_methods(choice: EngineChoice, selected: Sequence[MethodConfig]) -> None:
    """Raise CalibError (unsupported) for methods whose edits vLLM, or the server, cannot make."""
    if not isinstance(choice, VllmChoice):
        return
    for method in selected:
        part = method.activation if isinstance(method, Combine) else method
        if not isinstance(part, Activation):
            continue
        site = _INSIDE.get(part.file or part.name) or getattr(part, "site", "residual")
        if site != "residual":
            raise CalibError(
                "unsupported",
                f"method={method.name} edits {site}, inside a decoder block, and engine=vllm "
                "edits the residual stream between blocks only. Use engine=transformers.",
            )
        reason = _reason_for_hooks(part)
        if reason and choice.urls and not choice.hooks:
            raise CalibError(
                "unsupported",
                f"method={method.name} needs hooks on a vLLM server ({reason}), and {_OWN_SERVER}; "
                "otherwise choose method.operator=add with method.positions=all, or engine=vllm "
                "without base_url.",
            )


def check_extraction(choice: EngineChoice, config: ExtractConfig) -> None:
    """Raise CalibError (unsupported) for an extraction that vLLM, or the server, cannot make."""
    if not isinstance(choice, VllmChoice):
        return
    if config.site != "residual":
        raise CalibError(
            "unsupported",
            f"site={config.site} is inside a decoder block, and engine=vllm reads the residual "
            "stream between blocks only. Use engine=transformers.",
        )
    if config.kl is not None and choice.urls and not choice.hooks:
        raise CalibError(
            "unsupported",
            f"kl={config.kl:g} measures the effect of each layer at the last prompt token, which "
            f"needs hooks on a vLLM server, and {_OWN_SERVER}; otherwise give kl=null.",
        )


def edits_activations(selected: Sequence[MethodConfig]) -> bool:
    """Whether any method edits activations."""
    return any(isinstance(method, Activation | Combine) for method in selected)


def _reason_for_hooks(method: Activation) -> str:
    """Why the edits of a method are no steering vectors; empty if they are."""
    if isinstance(method, Ablation | Adaptive | Astra | Nullspace | Subspace):
        return "its edits depend on the activation"
    operator = getattr(method, "operator", "add")
    if operator not in _PLAIN:
        return f"method.operator={operator}"
    if method.positions != "all":
        # vllm-lens 1.3.0 counts the positions of a vector from each forward pass.
        return f"method.positions={method.positions}"
    return ""


def comparison_notes(choice: EngineChoice, selected: Sequence[MethodConfig]) -> list[str]:
    """A note where vLLM's rows are compared with nothing."""
    if not isinstance(choice, VllmChoice) or choice.weights or edits_activations(selected):
        return []
    return [
        "engine.weights=false: without weights, the self-check only compares rows with the edit "
        "off and on, and this run has no edits, so no response of vLLM is checked"
    ]
