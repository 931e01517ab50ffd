"""Requests and completions of vLLM's chat completions, with the fields that vllm-lens adds.

Values of ``vllm_xargs`` are texts: lists are JSON inside the JSON.
"""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from calib.engine.vllm.request import (
    TOO_LONG,
    Completion,
    Hook,
    SteeringVector,
    VllmRequest,
    not_finite,
)
from calib.engine.vllm.server.tensors import decode_tensor, encode_tensor
from calib.util.errors import CalibError

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors of reading a reply that has other fields, or values of other types, than vLLM's."""
_TOKEN = "token_id:"
"""Prefix of a token in logprobs with return_tokens_as_token_ids."""
_FINISHES = {"stop": "stop", "length": "length"}
_MOST_WIDTH = 2**17
"""Greatest width of a residual stream that is read: a server must not fill the memory."""
_MOST_SAVED = 2**16
"""Most values of a tensor that a hook saved; calib's own hooks save none."""


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


def is_large(body: Mapping[str, Any]) -> bool:
    """Whether the reply to a request may be large: it has activations or the log-probabilities of
    many tokens."""
    return bool(body.get("top_logprobs")) or "output_residual_stream" in body["vllm_xargs"]


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

    Raises an error of MALFORMED if the reply is no chat completion, and CalibError if it lacks what
    vllm-lens adds to it.
    """
    choice = payload["choices"][0]
    finish = _FINISHES[choice["finish_reason"]]
    tokens = _token_ids(choice["token_ids"])
    prompt_tokens = _token_ids(payload["prompt_token_ids"])
    if len(tokens) > request.max_tokens:
        raise ValueError(f"{len(tokens)} tokens instead of {request.max_tokens} at most")
    if finish == "length" and len(tokens) < request.max_tokens:
        return Completion("", (), prompt_tokens, TOO_LONG)
    if request.logprobs is not None and not _is_finite(choice):
        return not_finite()
    return Completion(
        choice["message"]["content"] or "",
        tokens,
        prompt_tokens,
        finish,
        _first_logprobs(choice) if request.logprobs else None,
        _residual(payload, request, len(prompt_tokens) + len(tokens) - 1),
        _hook_results(payload) if request.hooks else None,
    )


def _token_ids(returned: Any) -> tuple[int, ...]:
    for token in returned:
        if not isinstance(token, int) or not 0 <= token < 2**31:
            raise ValueError(f"{str(token)[:40]} is no token")
    return tuple(returned)


def _is_finite(choice: Mapping[str, Any]) -> bool:
    """Whether the log-probabilities of all chosen tokens are finite."""
    chosen = [item["logprob"] for item in choice["logprobs"]["content"]]
    return all(value is not None and math.isfinite(value) for value in chosen)


def _first_logprobs(choice: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    first = choice["logprobs"]["content"][0]
    # The chosen token may be missing among the most likely ones, where the edit is strong.
    entries = {item["token"]: item["logprob"] for item in (*first["top_logprobs"], first)}
    ids = _token_ids([int(token.removeprefix(_TOKEN)) for token in entries])
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
    tensor, layers = returned["residual_stream"], sorted(request.residual_layers)
    shape = list(tensor["shape"])
    width = shape[-1] if len(shape) == 3 else 0
    if shape[:2] != [len(layers), length] or not 0 < width <= _MOST_WIDTH:
        raise CalibError(
            "mismatch",
            f"the server returned activations of shape {str(shape)[:60]} for {len(layers)} "
            f"layers and {length} tokens. Are all layers within the served model?",
        )
    return dict(zip(layers, _decoded(tensor), strict=True))


def _decoded(tensor: Mapping[str, Any]) -> torch.Tensor:
    try:
        return decode_tensor(**tensor)
    except CalibError as error:
        message = f"a tensor that the server returned cannot be read: it {error}"
        raise CalibError(error.code, message) from error


def _hook_results(payload: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What hooks saved; pickled values are refused, because reading them would execute them."""
    results = payload.get("hook_results") or {}
    for saved in results.values():
        for name, value in saved.items():
            kind = value.get("__type__") if isinstance(value, dict) else None
            if kind == "tensor":
                if math.prod(value["shape"]) > _MOST_SAVED:
                    raise ValueError(f"a hook saved a tensor of shape {str(value['shape'])[:60]}")
                saved[name] = _decoded({k: v for k, v in value.items() if k != "__type__"})
            elif kind is not None:
                raise CalibError(
                    "unsupported", f"the server returned '{name}' of a hook as {kind} code."
                )
    return dict(results)
