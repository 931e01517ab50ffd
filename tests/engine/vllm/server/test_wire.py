import base64
import json
import pickle

import pytest
import torch
from raising import raises

pytest.importorskip("zstandard", reason="the vllm extra brings zstandard")

from calib.engine.vllm.request import NOT_FINITE, TOO_LONG, Hook, SteeringVector, VllmRequest  # noqa: E402
from calib.engine.vllm.server.tensors import decode_tensor, encode_tensor  # noqa: E402
from calib.engine.vllm.server.wire import MALFORMED, chat_body, parse_completion  # noqa: E402

MESSAGES = [{"role": "user", "content": "how do i kill a process"}]
RECORDED = """{"id":"chatcmpl-b60412ce42bd030f","object":"chat.completion","created":1796019977,
"model":"/models/mini_internvl","choices":[{"index":0,"message":{"role":"assistant","content":
"I cannot","refusal":null,"annotations":null,"audio":null,"function_call":null,"reasoning":null},
"logprobs":{"content":[{"token":"token_id:47","logprob":-0.31,"bytes":[73],"top_logprobs":[
{"token":"token_id:282","logprob":-0.25,"bytes":[116]},{"token":"token_id:314","logprob":-2.7,
"bytes":[116]}]},{"token":"token_id:699","logprob":-6.5e-06,"bytes":[32],"top_logprobs":[]}]},
"finish_reason":"length","stop_reason":null,"token_ids":[47,699],"routed_experts":null}],
"service_tier":null,"system_fingerprint":"vllm-0.32.0-f273bb1e","usage":{"prompt_tokens":4,
"total_tokens":6,"completion_tokens":2},"prompt_logprobs":null,"prompt_token_ids":[1,692,205,78],
"prompt_text":null,"kv_transfer_params":null,"metrics":null}"""
"""A response of vLLM 0.32.0."""


def recorded(**changes):
    return {**json.loads(RECORDED), **changes}


def double(context, hidden):
    return 2 * hidden


def test_a_plain_request_leaves_nothing_to_the_servers_defaults():
    body = chat_body(VllmRequest(MESSAGES, 8), "mini")
    assert (body["model"], body["messages"], body["max_tokens"]) == ("mini", MESSAGES, 8)
    assert (body["temperature"], body["top_p"], body["top_k"], body["min_p"]) == (0.0, 1.0, -1, 0.0)
    assert body["repetition_penalty"] == 1.0
    assert body["return_token_ids"] is True
    # Edits of another request may be in the cached keys and values.
    assert body["vllm_xargs"] == {"skip_reading_prefix_cache": "true"}
    # These need options of the server, or have a meaning of their own when they are null.
    assert not {"chat_template", "mm_processor_kwargs", "seed", "logprobs"} & set(body)


def test_only_the_tokens_of_the_request_end_a_response():
    body = chat_body(VllmRequest(MESSAGES, 8, stop_tokens=(2, 7)), "mini")
    assert (body["stop_token_ids"], body["ignore_eos"]) == ([2, 7], True)
    assert "ignore_eos" not in chat_body(VllmRequest(MESSAGES, 8), "mini")


def test_template_sampling_and_logprobs():
    request = VllmRequest(
        MESSAGES, 8, chat_template="{{ messages }}", template_kwargs={"enable_thinking": False},
        processor_kwargs={"crop_to_patches": False}, add_generation_prompt=False,
        continue_final_message=True, temperature=0.7, top_p=0.9, seed=3, logprobs=-1,
    )  # fmt: skip
    body = chat_body(request, "mini")
    assert body["chat_template"] == "{{ messages }}"
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["mm_processor_kwargs"] == {"crop_to_patches": False}
    assert (body["add_generation_prompt"], body["continue_final_message"]) == (False, True)
    assert (body["temperature"], body["top_p"], body["seed"]) == (0.7, 0.9, 3)
    assert (body["logprobs"], body["top_logprobs"]) == (True, -1)
    assert body["return_tokens_as_token_ids"] is True


def test_vectors_hooks_and_layers_are_texts_as_the_plugin_reads_them():
    pytest.importorskip("cloudpickle")
    everywhere = SteeringVector((1, 3), torch.randn(2, 4), scale=-2.0)
    somewhere = SteeringVector((2,), torch.randn(1, 2, 4), (5, 6), norm_match=True)
    request = VllmRequest(
        MESSAGES, 8, vectors=(everywhere, somewhere), hooks=(Hook(double, (4,), pre=True),),
        residual_layers=(3, 1),
    )  # fmt: skip
    arguments = chat_body(request, "mini")["vllm_xargs"]
    assert all(isinstance(value, str) for value in arguments.values())
    first, second = json.loads(arguments["apply_steering_vectors"])
    assert torch.equal(decode_tensor(**first.pop("activations")), everywhere.vectors)
    assert first == {
        "layer_indices": [1, 3], "scale": -2.0, "norm_match": False, "position_indices": None,
    }  # fmt: skip
    assert torch.equal(decode_tensor(**second.pop("activations")), somewhere.vectors)
    assert second["position_indices"] == [5, 6]
    assert second["norm_match"] is True
    (hook,) = json.loads(arguments["apply_hooks"])
    function = pickle.loads(base64.b64decode(hook["fn"]["cloudpickle"]))
    assert torch.equal(function(None, torch.ones(2)), torch.full((2,), 2.0))
    assert (hook["layer_indices"], hook["pre"]) == ([4], True)
    assert json.loads(arguments["output_residual_stream"]) == [1, 3]


def test_a_recorded_response():
    completion = parse_completion(recorded(), VllmRequest(MESSAGES, 2, logprobs=2))
    assert (completion.text, completion.tokens) == ("I cannot", (47, 699))
    assert (completion.prompt_tokens, completion.finish) == ((1, 692, 205, 78), "length")
    ids, values = completion.logprobs
    assert ids.tolist() == [282, 314, 47]  # the chosen token is not among the most likely ones
    assert values.tolist() == pytest.approx([-0.25, -2.7, -0.31])
    assert completion.residual is None
    assert completion.hook_results is None


def test_a_response_that_vllm_cut_at_the_context_is_too_long():
    completion = parse_completion(recorded(), VllmRequest(MESSAGES, 8))
    assert (completion.finish, completion.tokens) == (TOO_LONG, ())


def test_activations_of_the_wrong_shape():
    request = VllmRequest(MESSAGES, 2, residual_layers=(1, 3))
    good = {"residual_stream": encode_tensor(torch.arange(40.0).reshape(2, 5, 4))}
    residual = parse_completion(recorded(activations=good), request).residual
    assert list(residual) == [1, 3]
    assert torch.equal(residual[3], torch.arange(20.0, 40.0).reshape(5, 4))
    for shape in ((1, 5, 4), (2, 6, 4), (2, 4)):
        activations = {"residual_stream": encode_tensor(torch.zeros(shape))}
        with raises("mismatch", list(shape)):
            parse_completion(recorded(activations=activations), request)
    with raises("unsupported", "vllm-lens"):
        parse_completion(recorded(), request)


def test_what_a_hook_saved():
    request = VllmRequest(MESSAGES, 2, hooks=(Hook(double, (4,)),))
    tensor = {"__type__": "tensor", **encode_tensor(torch.ones(3))}
    results = {"0": {"covered 4": 5, "norms": tensor}}
    saved = parse_completion(recorded(hook_results=results), request).hook_results["0"]
    assert saved["covered 4"] == 5
    assert torch.equal(saved["norms"], torch.ones(3))
    assert parse_completion(recorded(), request).hook_results == {}


@pytest.mark.parametrize(
    "damage",
    [
        lambda reply: reply.pop("prompt_token_ids"),
        lambda reply: reply["choices"].clear(),
        lambda reply: reply["choices"][0].update(token_ids=None),
        lambda reply: reply["choices"][0].update(finish_reason="abort"),
        lambda reply: reply["choices"][0].update(logprobs=None),
        lambda reply: reply["choices"][0].update(logprobs={"content": [1]}),
        lambda reply: reply["choices"][0].update(token_ids=[-5, 1]),
        lambda reply: reply["choices"][0].update(token_ids=[10**30, 1]),
        lambda reply: reply["choices"][0].update(token_ids=[float("inf")]),
        lambda reply: reply["choices"][0].update(token_ids=[1, 2, 3]),
        lambda reply: reply["choices"][0]["logprobs"]["content"][0].update(token=5),
    ],
)
def test_a_reply_that_lacks_something_is_no_completion(damage):
    reply = recorded()
    damage(reply)
    with pytest.raises(MALFORMED):
        parse_completion(reply, VllmRequest(MESSAGES, 2, logprobs=2))


def test_activations_that_would_fill_the_memory_are_not_decompressed(monkeypatch):
    request = VllmRequest(MESSAGES, 2, residual_layers=(1,))
    tensor = encode_tensor(torch.zeros(1, 5, 4))
    monkeypatch.setattr("calib.engine.vllm.server.wire.decode_tensor", None)
    for shape in ([1, 5, 10**9], [10**5, 10**5, 4], [-1, -5, 4], [5], ["1", 5, 4]):
        activations = {"residual_stream": {**tensor, "shape": shape}}
        with raises("mismatch", shape):
            parse_completion(recorded(activations=activations), request)


def test_a_tensor_that_cannot_be_read_is_named():
    request = VllmRequest(MESSAGES, 2, residual_layers=(1,))
    tensor = encode_tensor(torch.zeros(1, 5, 4)) | {"dtype": "int8"}
    with raises("unsupported", "tensor that the server returned", "int8"):
        parse_completion(recorded(activations={"residual_stream": tensor}), request)


def test_a_response_with_a_token_whose_log_probability_is_not_finite():
    for value in (float("nan"), None):
        reply = recorded()
        reply["choices"][0]["logprobs"]["content"][1]["logprob"] = value
        for count in (0, 2):
            completion = parse_completion(reply, VllmRequest(MESSAGES, 2, logprobs=count))
            assert (completion.finish, completion.tokens) == (NOT_FINITE, ())
            assert completion.logprobs[1].isnan().all()
