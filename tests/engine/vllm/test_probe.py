import pytest
import torch
from raising import raises

from calib.engine.vllm.probe import probe, probe_hook
from calib.engine.vllm.request import Completion
from calib.util.errors import CalibError

WIDTH, LAYERS, PROMPT = 8, 3, (1, 5, 6, 7, 2)
MESSAGES = [{"role": "user", "content": "hello"}]


class Fake:
    """A vLLM that adds each vector as ``add`` says, and rounds as ``dtype`` does."""

    def __init__(self, add, dtype=torch.float32, last=(9, 9)):
        self.add, self.dtype, self.last = add, dtype, last
        draw = torch.Generator().manual_seed(0)
        self.stream = torch.randn(LAYERS, len(PROMPT) + 1, WIDTH, generator=draw)
        self.stream[:, 0] *= 500  # as the first token of many models

    def complete(self, requests, window):
        for index, request in reversed(list(enumerate(requests))):
            stream = self.stream.clone()
            for vector in request.vectors:
                self.add(stream, vector.layers[0], vector.vectors[0])
            residual = {layer: stream[layer].to(self.dtype) for layer in request.residual_layers}
            tokens = self.last if request.vectors else (9, 9)
            yield index, Completion("", tokens, PROMPT, "length", None, residual)


def everywhere(stream, layer, vector):
    stream[layer:] += vector


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_vector_that_is_added_to_every_token(dtype):
    probe(Fake(everywhere, dtype), MESSAGES, WIDTH, LAYERS)


def test_another_first_token_is_not_compared():
    def first_token_changes(stream, layer, vector):
        everywhere(stream, layer, vector)
        stream[:, len(PROMPT)] = 7.0  # the activations of another token

    probe(Fake(first_token_changes, last=(8, 9)), MESSAGES, WIDTH, LAYERS)
    with raises("self-check", "position 5"):
        probe(Fake(first_token_changes), MESSAGES, WIDTH, LAYERS)


@pytest.mark.parametrize(
    ("add", "position"),
    [
        (lambda stream, layer, vector: None, 1),
        (lambda stream, layer, vector: everywhere(stream, layer, 2 * vector), 1),
        (lambda stream, layer, vector: everywhere(stream, layer, -vector), 1),
        (lambda stream, layer, vector: everywhere(stream, min(layer + 1, 2), vector), 1),
        (lambda stream, layer, vector: stream[layer, :5].add_(vector), 5),  # no generated token
        (lambda stream, layer, vector: stream[layer, 2:].add_(vector), 1),
    ],
    ids=["ignored", "twice", "negative", "later", "prompt", "partly"],
)
def test_a_vector_that_is_not_added_as_asked(add, position):
    with raises("self-check", f"position {position}"):
        probe(Fake(add), MESSAGES, WIDTH, LAYERS)


def test_a_model_of_another_width():
    with raises("mismatch", WIDTH, WIDTH * 2):
        probe(Fake(everywhere), MESSAGES, WIDTH * 2, LAYERS)


class HookServer:
    """A server that saves ``results`` for a hook, or refuses it with ``refusal``."""

    def __init__(self, results=None, refusal=None):
        self.results, self.refusal = results, refusal

    def complete(self, requests, window):
        for index, request in enumerate(requests):
            if request.hooks and self.refusal:
                raise self.refusal
            results = self.results if request.hooks else None
            yield index, Completion("", (9,) * request.max_tokens, PROMPT, "length", None, None,
                                    results)  # fmt: skip


def test_a_hook_that_sees_every_token():
    pytest.importorskip("cloudpickle")
    probe_hook(HookServer({"0": {"covered 0": len(PROMPT) + 1}}), MESSAGES, WIDTH)


@pytest.mark.parametrize("results", [None, {"0": {"covered 0": 3}}, {"0": {"error": "no torch"}}])
def test_a_hook_that_is_not_run_is_noticed_before_methods_are_fitted(results):
    pytest.importorskip("cloudpickle")
    with raises("self-check"):
        probe_hook(HookServer(results), MESSAGES, WIDTH)


def test_a_server_that_refuses_hooks_is_told_apart():
    pytest.importorskip("cloudpickle")
    refused = CalibError("endpoint", "status 400: no pickles")
    with raises("unsupported", "no pickles", "calib.serve", "method.positions=all"):
        probe_hook(HookServer(refusal=refused), MESSAGES, WIDTH)
