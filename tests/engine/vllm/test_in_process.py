"""vLLM in this process, with the names and results of vllm.LLM and vllm-lens made up here.

tests/vllm has the same with vLLM itself.
"""

import contextlib
import itertools
import logging
import signal
import sys
import types

import pytest
import torch
from raising import raises

from calib.config.engine import VllmChoice
from calib.config.model import ModelConfig
from calib.engine.vllm.in_process import InProcess
from calib.engine.vllm.request import NOT_FINITE, TOO_LONG, Hook, SteeringVector, VllmRequest

LONGEST = 5


def response_of(request):
    """The result of a prompt, whose tokens are its characters; it must be short enough."""
    text = request[0]["content"]
    if len(text) > LONGEST:
        raise ValueError("The decoder prompt is longer than the maximum model length of 5.")
    return types.SimpleNamespace(
        prompt_token_ids=[ord(letter) for letter in text],
        outputs=[types.SimpleNamespace(token_ids=[7, 2], text=text.upper(),
                                       logprobs=[{7: types.SimpleNamespace(logprob=-0.5)}])],
        activations={"residual_stream": torch.arange(6.0).reshape(2, 3, 1)},
        hook_results={"0": {"covered 1": 4}},
    )  # fmt: skip


class Llm:
    made = []

    def __init__(self, **arguments):
        self.arguments, self.calls = arguments, []
        Llm.made.append(self)
        if arguments["model"] == "broken":
            raise ValueError("No supported architecture.\nTraceback")

    def chat(self, messages, sampling, **settings):
        self.calls.append((messages, sampling, settings))
        return [response_of(request) for request in messages]


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    vllm, lens = types.ModuleType("vllm"), types.ModuleType("vllm_lens")
    vllm.LLM, vllm.SamplingParams = Llm, lambda **given: types.SimpleNamespace(**given)
    lens.SteeringVector = lens.Hook = lambda **given: given
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm_lens", lens)


def backend(model=None, **settings):
    return InProcess(VllmChoice(**settings), model or ModelConfig("internvl"))


def request(text, **settings):
    return VllmRequest([{"role": "user", "content": text}], 4, stop_tokens=(2,), **settings)


def test_the_model_is_loaded_without_a_prefix_cache_and_with_further_arguments():
    extra = {"kv_cache_dtype": "fp8", "disable_log_stats": False}
    arguments = backend(tensor_parallel=4, rows_in_flight=8, extra=extra).llm.arguments
    assert arguments["model"].endswith("mini_internvl") and arguments["dtype"] == "float32"
    assert arguments["tensor_parallel_size"] == 4 and arguments["max_num_seqs"] == 8
    assert arguments["enable_prefix_caching"] is False and arguments["enforce_eager"] is True
    assert arguments["seed"] == 0 and "max_model_len" not in arguments
    assert arguments["kv_cache_dtype"] == "fp8" and arguments["disable_log_stats"] is False


def test_requests_of_equal_settings_are_sent_together_and_keep_their_numbers():
    requests = [
        request("a"), request("b", add_generation_prompt=False, continue_final_message=True),
        request("c", chat_template="T"), request("d"), request("e"),
    ]  # fmt: skip
    vllm = backend(rows_in_flight=2)
    done = dict(vllm.complete(requests, 2))
    assert [done[k].text for k in range(5)] == list("ABCDE")
    sent = [[each[0]["content"] for each in messages] for messages, _, _ in vllm.llm.calls]
    assert sent == [["a", "d"], ["b"], ["c"], ["e"]]
    assert vllm.llm.calls[1][2]["continue_final_message"] is True
    assert vllm.llm.calls[2][2]["chat_template"] == "T"


@pytest.mark.parametrize(("seconds", "sizes"), [(20, [8, 16, 32, 4]), (40, [8] * 7 + [4])])
def test_batches_grow_as_long_as_they_are_quick(seconds, sizes, monkeypatch):
    clock = itertools.count(0, seconds)
    slow = types.SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("calib.engine.vllm.in_process.time", slow)
    vllm = backend()
    assert len(list(vllm.complete([request("a")] * 60, 64))) == 60
    assert [len(messages) for messages, _, _ in vllm.llm.calls] == sizes


def test_a_response_that_overflows_late_keeps_its_tokens(monkeypatch):
    monkeypatch.setattr(sys.modules["vllm"].LLM, "chat", lambda self, messages, *_, **__: [
        types.SimpleNamespace(prompt_token_ids=[1], outputs=[types.SimpleNamespace(
            token_ids=[7, 8, 0], text="", logprobs=[
                {token: types.SimpleNamespace(logprob=value)}
                for token, value in zip([7, 8, 0], values, strict=True)
            ])])
        for values in ([-0.5, -0.1, torch.nan], [torch.nan, torch.nan, torch.nan])
    ])  # fmt: skip
    late, early = (done for _, done in backend().complete([request("a", logprobs=1)] * 2, 4))
    assert (late.tokens, late.finish, late.logprobs[1].tolist()) == ((7, 8), NOT_FINITE, [-0.5])
    assert (early.tokens, early.finish) == ((), NOT_FINITE)


def test_a_stop_that_vllm_loses_ends_the_start(monkeypatch):
    def losing(**arguments):
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("Engine core initialization failed.")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", losing)
    with pytest.raises(KeyboardInterrupt):
        backend()


def test_edits_and_readings_become_arguments_of_vllm_lens():
    def hook(context, hidden):
        return None

    vector = SteeringVector((1,), torch.ones(1, 4), scale=0.5, norm_match=True)
    asked = request("x", vectors=(vector,), hooks=(Hook(hook, (1,)),), residual_layers=(0, 1),
                    logprobs=-1)  # fmt: skip
    vllm = backend()
    ((_, completion),) = vllm.complete([asked], 1)
    (sampling,) = vllm.llm.calls[0][1]
    (sent,) = sampling.extra_args["apply_steering_vectors"]
    assert sent["layer_indices"] == [1] and sent["scale"] == 0.5 and sent["norm_match"]
    assert sampling.extra_args["apply_hooks"][0]["fn"] is hook
    assert sampling.extra_args["output_residual_stream"] == [0, 1]
    assert sampling.extra_args["skip_reading_prefix_cache"] is True
    assert sampling.ignore_eos and sampling.stop_token_ids == [2] and sampling.logprobs == -1
    assert completion.tokens == (7, 2) and completion.finish == "stop"
    assert completion.prompt_tokens == (ord("x"),)
    assert completion.residual[1].flatten().tolist() == [3.0, 4.0, 5.0]
    ids, logprobs = completion.logprobs
    assert ids.tolist() == [7] and logprobs.tolist() == [-0.5]
    assert completion.hook_results == {"0": {"covered 1": 4}}


def test_a_prompt_that_is_too_long_does_not_end_the_others():
    done = dict(backend().complete([request("a"), request("too long"), request("b")], 4))
    assert [done[k].finish for k in range(3)] == ["stop", TOO_LONG, "stop"]


def test_a_model_that_vllm_cannot_load_is_named_with_the_first_line_of_its_error():
    with raises("unreadable", "broken", "No supported architecture"):
        backend(ModelConfig("m", checkpoint="broken"))


def test_without_vllm_the_error_names_both_ways_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with raises("needs-package", "docs/scale.md", "engine.base_url"):
        backend()


def test_a_share_of_main_memory_that_is_free_is_chosen_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    memory = types.SimpleNamespace(available=40, total=100)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert backend().llm.arguments["gpu_memory_utilization"] == 0.2
    assert backend(tensor_parallel=2).llm.arguments["gpu_memory_utilization"] == 0.1
    assert backend(gpu_memory_utilization=0.7).llm.arguments["gpu_memory_utilization"] == 0.7


def test_a_gpu_keeps_vllms_own_share(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "gpu_memory_utilization" not in backend().llm.arguments


def test_the_reason_in_the_log_of_an_engine_that_fails_to_start_reaches_the_message(monkeypatch):
    def failing(**arguments):
        try:
            raise ValueError("Available memory (16/24 GiB) is less than desired (0.92).")
        except ValueError:
            logging.getLogger("vllm").exception("EngineCore failed to start.")
        raise RuntimeError("Engine core initialization failed. See root cause above.")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", failing)
    with raises("no-memory", "16/24 GiB", "engine.gpu_memory_utilization"):
        backend()
