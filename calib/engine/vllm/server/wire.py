"""Requests and completions of vLLM's chat completions, with the fields that vllm-lens adds.

Values of ``vllm_xargs`` are texts: lists are JSON inside the JSON.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

import torch

from calib.engine.vllm.request import TOO_LONG, Completion, Hook, SteeringVector, VllmRequest
from calib.engine.vllm.server.tensors import decode_tensor, encode_tensor
from calib.util.errors import CalibError

_TOKEN = "token_id:"
"""Prefix of a token in logprobs with return_tokens_as_token_ids."""
_FINISHES = {"stop": "stop", "length": "length"}


def chat_body(request: VllmRequest, model: str) -> dict[str, Any]:
    """The body of a request to /v1/chat/completions."""
    body: dict[str, Any] = {
        "model": model,
        "messages": request.messages,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        # Without these, vLLM takes the defaults of the checkpoint's generation_config.json.
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": request.repetition_penalty,
        "add_generation_prompt": request.add_generation_prompt,
        "continue_final_message": request.continue_final_message,
        "return_token_ids": True,
        "vllm_xargs": _extra_arguments(request),
    }
    if request.stop_tokens:
        # The tokens of the request end a response, and no others that vLLM may know.
        body |= {"stop_token_ids": list(request.stop_tokens), "ignore_eos": True}
    if request.seed is not None:
        body["seed"] = request.seed
    if request.chat_template is not None:
        body["chat_template"] = request.chat_template
    if request.template_kwargs:
        body["chat_template_kwargs"] = dict(request.template_kwargs)
    if request.processor_kwargs:
        body["mm_processor_kwargs"] = dict(request.processor_kwargs)
    if request.logprobs is not None:
        body |= {
            "logprobs": True,
            "top_logprobs": request.logprobs,
            "return_tokens_as_token_ids": True,
        }
    return body


def _extra_arguments(request: VllmRequest) -> dict[str, str]:
    # Edits change the keys and values of a prompt, which vLLM caches under the prompt's tokens.
    arguments = {"skip_reading_prefix_cache": "true"}
    if request.vectors:
        vectors = [_vector_object(vector) for vector in request.vectors]
        arguments["apply_steering_vectors"] = json.dumps(vectors)
    if request.hooks:
        arguments["apply_hooks"] = json.dumps([_hook_object(hook) for hook in request.hooks])
    if request.residual_layers is not None:
        arguments["output_residual_stream"] = json.dumps(sorted(request.residual_layers))
    return arguments


def _vector_object(vector: SteeringVector) -> dict[str, Any]:
    return {
        "activations": encode_tensor(vector.vectors),
        "layer_indices": list(vector.layers),
        "scale": vector.scale,
        "norm_match": vector.norm_match,
        "position_indices": None if vector.positions is None else list(vector.positions),
    }


def _hook_object(hook: Hook) -> dict[str, Any]:
    import cloudpickle

    code = base64.b64encode(cloudpickle.dumps(hook.function)).decode("ascii")
    return {
        "fn": {"cloudpickle": code},
        "layer_indices": list(hook.layers),
        "pre": hook.pre,
    }


def parse_completion(payload: Any, request: VllmRequest) -> Completion:
    """The completion in a reply of status 200.

    A response that vLLM cut because prompt and response exceed the model's context is TOO_LONG.

    Raises ValueError, LookupError or TypeError if the reply is no chat completion, and CalibError
    if it lacks what vllm-lens adds to it.
    """
    choice = payload["choices"][0]
    finish = _FINISHES[choice["finish_reason"]]
    tokens = tuple(int(token) for token in choice["token_ids"])
    prompt_tokens = tuple(int(token) for token in payload["prompt_token_ids"])
    if finish == "length" and len(tokens) < request.max_tokens:
        return Completion("", (), prompt_tokens, TOO_LONG)
    return Completion(
        choice["message"]["content"] or "",
        tokens,
        prompt_tokens,
        finish,
        _first_logprobs(choice) if request.logprobs is not None else None,
        _residual(payload, request, len(prompt_tokens) + len(tokens) - 1),
        _hook_results(payload) if request.hooks else None,
    )


def _first_logprobs(choice: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    first = choice["logprobs"]["content"][0]
    # The chosen token may be missing among the most likely ones, where the edit is strong.
    entries = {item["token"]: item["logprob"] for item in (*first["top_logprobs"], first)}
    ids = [int(token.removeprefix(_TOKEN)) for token in entries]
    return torch.tensor(ids), torch.tensor(list(entries.values()), dtype=torch.float32)


def _residual(
    payload: Mapping[str, Any], request: VllmRequest, length: int
) -> dict[int, torch.Tensor] | None:
    if request.residual_layers is None:
        return None
    returned = payload.get("activations")
    if returned is None:
        raise CalibError(
            "unsupported",
            "the server returned no activations, so it runs without the plugin vllm-lens. Install "
            "it in the server's environment (pip install vllm-lens) and start the server again.",
        )
    stream = decode_tensor(**returned["residual_stream"])
    layers = sorted(request.residual_layers)
    if stream.dim() != 3 or stream.shape[:2] != (len(layers), length):
        raise CalibError(
            "mismatch",
            f"the server returned activations of shape {list(stream.shape)} for {len(layers)} "
            f"layers and {length} tokens. Are all layers within the served model?",
        )
    return dict(zip(layers, stream, strict=True))


def _hook_results(payload: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What hooks saved; pickled values are refused, because reading them would execute them."""
    results = payload.get("hook_results") or {}
    for saved in results.values():
        for name, value in saved.items():
            kind = value.get("__type__") if isinstance(value, dict) else None
            if kind == "tensor":
                saved[name] = decode_tensor(**{k: v for k, v in value.items() if k != "__type__"})
            elif kind is not None:
                raise CalibError(
                    "unsupported", f"the server returned '{name}' of a hook as {kind} code."
                )
    return dict(results)
