"""Steering vectors in requests: responses are those of the library, and bad fields are refused."""

import base64
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from composing import composed
from naive_loop import hook_at_site
from server_thread import TOKENS, ServerThread, messages_of, post, send

from calib.api import Model
from calib.engine.activations import read_activations
from calib.engine.edits import Edit
from calib.engine.engine import generate
from calib.engine.operators import Add, AddByNorm
from calib.engine.request import Decoding, Request
from calib.engine.vllm.server.tensors import decode_tensor, encode_tensor
from calib.interventions.steering import operator_at
from calib.models.layers import edit_activations
from calib.models.prompt_batch import PromptToken
from calib.models.prompts import read_prompt
from calib.serving import batch, steering_vectors
from calib.serving.http import limits
from calib.serving.refit import build_without_examples
from calib.serving.served_model import ServedModel
from calib.util.errors import CalibError

PLAIN, CALIBRATED = "mini-uncalibrated", "mini"
FIELD = "vllm_xargs.apply_steering_vectors"
RESIDUAL = "vllm_xargs.output_residual_stream"


@pytest.fixture(scope="module")
def examples(mixed_examples):
    """Prompts with and without an image."""
    examples = list(mixed_examples)
    with_image = [e for e in examples if e.picture][:4]
    return with_image + [e for e in examples if not e.picture][:2]


def unit(direction, layer):
    """The vector that a strength of 1 adds. # [width]"""
    return operator_at("add", direction, layer, 1.0).vector


def on_wire(vectors, layers, scale=1.0, norm_match=False, positions=None):
    """A steering vector with the fields that vllm-lens sends."""
    return {
        "activations": encode_tensor(vectors),
        "layer_indices": layers,
        "scale": scale,
        "norm_match": norm_match,
        "position_indices": positions,
    }


def body_of(example, vectors, model=PLAIN, as_text=True, **more):
    sent = json.dumps(vectors) if as_text else vectors
    xargs = {"vllm_xargs": {"apply_steering_vectors": sent}}
    messages = messages_of(example)
    return {"model": model, "messages": messages, "max_tokens": TOKENS, **xargs, **more}


def text_of(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]["content"]


def offline(vlm, example, *edits):
    decoding = Decoding(max_new_tokens=TOKENS, kl=False)
    return generate(vlm, [Request(example, edits)], decoding)[0].text


def test_a_request_written_by_hand(vlm, server, direction, examples):
    """The fields byte for byte, in both forms of the tensor."""
    added = unit(direction, 3)
    values = struct.pack(f"<{vlm.width}f", *added.tolist())
    size = len(values) - 256
    # One zstd frame: its size in two bytes, then one block of raw bytes.
    frame = b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", size)
    frame += (len(values) << 3 | 1).to_bytes(3, "little") + values
    common = f'"dtype": "float32", "shape": [1, {vlm.width}]'
    older = f'{{"data": "{base64.b64encode(values).decode()}", {common}}}'
    newer = (
        f'{{"data": "{base64.b64encode(frame).decode()}", {common}, '
        '"original_dtype": "torch.float32", "compression": "zstd"}'
    )
    responses = [offline(vlm, e, Edit(3, Add(-4 * added))) for e in examples]
    changed = [k for k, text in enumerate(responses) if text != offline(vlm, examples[k])]
    example, expected = examples[changed[0]], responses[changed[0]]
    for tensor in (older, newer):
        text = (
            f'[{{"activations": {tensor}, "layer_indices": [3], "scale": -4.0, '
            '"norm_match": false, "position_indices": null}]'
        )
        body = {
            "model": PLAIN,
            "messages": messages_of(example),
            "max_tokens": TOKENS,
            "vllm_xargs": {"apply_steering_vectors": text},
        }
        reply = post(server, body)
        assert text_of(reply) == expected
        assert reply.json()["calib"]["steering_vectors"] == 1
        body["vllm_xargs"]["apply_steering_vectors"] = json.loads(text)
        assert text_of(post(server, body)) == expected


def test_requests_of_one_batch_with_their_own_vectors(
    vlm, server, direction, examples, monkeypatch
):
    """Each response is the one of ``steer`` in Python, with and without vectors."""
    model, rows = Model(vlm), []
    for k, example in enumerate(examples):
        for layer, strength in ((2, 4.0), (3, -2.0), (3, 4.0), (4, 0.0)):
            with model.steer(direction, strength, layer, "all", "add"):
                expected = model.generate(example, max_new_tokens=TOKENS)
            vectors = [on_wire(unit(direction, layer)[None], [layer], strength)]
            rows.append((body_of(example, vectors, as_text=bool(k % 2)), expected))
    assert len({expected for _, expected in rows}) > len(examples)
    batches, attempt = [], server.worker._attempt
    monkeypatch.setattr(
        server.worker, "_attempt", lambda jobs: (batches.append(len(jobs)), attempt(jobs))[1]
    )
    monkeypatch.setattr("calib.serving.worker.GATHER_SECONDS", 1.0)
    with ThreadPoolExecutor(len(rows)) as pool:
        replies = list(pool.map(lambda row: post(server, row[0]), rows))
    assert [text_of(reply) for reply in replies] == [expected for _, expected in rows]
    assert max(batches) > 1


def test_vectors_come_after_the_method_and_in_their_order(
    vlm, server, steered, direction, examples
):
    own = steered.setting(3, 4.0).intervention.edits
    first, second = 6 * torch.randn(2, 1, vlm.width)
    vectors = [on_wire(first, [3], -0.5, norm_match=True), on_wire(second, [3])]
    match = AddByNorm(first[0] / (first[0].norm() + 1e-6), -0.5)
    for example in examples:
        expected = offline(vlm, example, *own, Edit(3, match), Edit(3, Add(second[0])))
        reply = post(server, body_of(example, vectors, CALIBRATED))
        assert text_of(reply) == expected
        assert reply.json()["calib"] == {
            "method": "steer", "layer": 3, "strength": 4.0, "steering_vectors": 2,
        }  # fmt: skip


def test_streamed_responses_are_steered(server, client, direction, examples):
    vectors = [on_wire(unit(direction, 3)[None], [3], 4.0)]
    body = body_of(examples[0], vectors)
    xargs = {"vllm_xargs": body.pop("vllm_xargs")}
    parts = client.chat.completions.create(**body, stream=True, extra_body=xargs)
    streamed = "".join(part.choices[0].delta.content or "" for part in parts)
    assert streamed == text_of(post(server, {**body, **xargs}))


@pytest.mark.parametrize("norm_match", [False, True])
def test_vectors_for_single_tokens(vlm, server, examples, norm_match):
    """Of prompts with different lengths, in the middle and at the end."""
    draw = torch.Generator().manual_seed(0)
    changed = 0
    for example in examples:
        length = len(read_prompt(vlm, example).tokens)
        positions = [length - 1, 0, length // 2, length // 2]
        vectors = 12 * torch.randn(2, 4, vlm.width, generator=draw)
        scale = 1.5 if norm_match else 1.0
        edits = []
        for layer, of_layer in zip((1, 4), vectors, strict=True):
            for position, vector in zip(positions, of_layer, strict=True):
                unit = vector / (vector.norm() + 1e-6)
                operator = AddByNorm(unit, scale) if norm_match else Add(vector)
                edits.append(Edit(layer, operator, PromptToken(length - position)))
        expected = offline(vlm, example, *edits)
        sent = on_wire(vectors, [1, 4], scale, norm_match, positions)
        assert text_of(post(server, body_of(example, [sent]))) == expected
        changed += expected != offline(vlm, example)
    assert changed > 1


def test_without_position_indices_vectors_are_those_of_the_first_tokens(vlm, server, examples):
    length = len(read_prompt(vlm, examples[0]).tokens)
    vectors = 20 * torch.randn(1, length, vlm.width, generator=torch.Generator().manual_seed(0))
    sent = on_wire(vectors, [2]), on_wire(vectors, [2], positions=list(range(length)))
    replies = [text_of(post(server, body_of(examples[0], [vector]))) for vector in sent]
    assert replies[0] == replies[1] != offline(vlm, examples[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_other_types_of_tensors(vlm, server, examples, dtype):
    vector = (8 * torch.randn(vlm.width)).to(dtype)
    expected = offline(vlm, examples[0], Edit(3, Add(vector.float())))
    assert text_of(post(server, body_of(examples[0], [on_wire(vector[None], [3])]))) == expected


def test_a_request_without_vectors_is_unchanged(server, examples):
    plain = {"model": CALIBRATED, "messages": messages_of(examples[0]), "max_tokens": TOKENS}
    expected = post(server, plain).json()
    for xargs in ({}, {"apply_steering_vectors": "[]"}, {"skip_reading_prefix_cache": True}):
        reply = post(server, {**plain, "vllm_xargs": xargs})
        assert text_of(reply) == expected["choices"][0]["message"]["content"]
        assert reply.json()["calib"] == expected["calib"]


def stream_of(reply):
    """The activations in a response. # [layers, tokens, width]"""
    assert reply.status_code == 200, reply.text
    assert reply.json()["activations"].keys() == {"residual_stream"}
    return decode_tensor(**reply.json()["activations"]["residual_stream"])


def test_the_residual_stream_is_returned_as_the_vectors_left_it(vlm, server, direction, examples):
    """In the order of the layers, for prompt and response, in each form of the field."""
    example = examples[0]
    add = unit(direction, 3)
    vectors = [on_wire(add[None], [3], -4.0)]
    plain, steered = body_of(example, []), body_of(example, vectors)
    for body in (plain, steered):
        body["return_token_ids"] = True
    expected = text_of(post(server, steered))
    for layers, count in (("[5, 3, 2, 3]", 3), ([2, 3, 5], 3), (True, 6), ("true", 6)):
        for body in (plain, steered):
            body["vllm_xargs"]["output_residual_stream"] = layers
        reply = post(server, steered)
        assert text_of(reply) == expected
        ids, response = reply.json()["prompt_token_ids"], reply.json()["choices"][0]["token_ids"]
        assert ids == read_prompt(vlm, example).tokens.tolist()
        assert len(response) == reply.json()["usage"]["completion_tokens"]
        after = stream_of(reply)
        assert after.shape == (count, len(ids) + len(response) - 1, vlm.width)
        before = stream_of(post(server, plain))[:, : len(ids)]
        of = (2, 3, 5) if count == 3 else range(6)
        last = read_activations(vlm, [example], "last_prompt", layers=list(of))[0]
        assert torch.allclose(before[:, -1], last, atol=1e-4)
        difference = after[:, : len(ids)] - before
        below, at = difference[: list(of).index(3)], difference[list(of).index(3)]
        assert below.abs().max() < 1e-4
        assert torch.allclose(at, (-4 * add).expand_as(at), atol=1e-4)


def test_the_residual_stream_of_generated_tokens(vlm, server, direction, examples):
    """Compared with one pass over prompt and response, and with sampled tokens."""
    example = examples[-1]
    assert example.picture is None
    edit = Edit(2, Add(4 * unit(direction, 2)))
    body = body_of(example, [on_wire(unit(direction, 2)[None], [2], 4.0)], temperature=1.5, seed=3)
    body |= {"return_token_ids": True}
    body["vllm_xargs"]["output_residual_stream"] = [1, 2, 4]
    reply = post(server, body)
    ids, response = reply.json()["prompt_token_ids"], reply.json()["choices"][0]["token_ids"]
    assert len(response) > 2
    read = {}
    handles = [
        hook_at_site(vlm, layer, "residual", lambda hidden, k=layer: read.update({k: hidden[0]}))
        for layer in (1, 2, 4)
    ]
    with (
        torch.no_grad(),
        edit_activations(vlm.model, {edit.at: lambda h: h + edit.operator.vector}),
    ):
        vlm.model(input_ids=torch.tensor([ids + response[:-1]]))
    for handle in handles:
        handle.remove()
    expected = torch.stack([read[layer] for layer in (1, 2, 4)])
    assert torch.allclose(stream_of(reply), expected, atol=1e-3)


def test_tokens_and_activations_are_refused_in_streams(server, examples):
    streamed = body_of(examples[0], [], stream=True)
    require_error(
        post(server, {**streamed, "return_token_ids": True}),
        "return_token_ids",
        "unsupported_value",
    )
    streamed["vllm_xargs"]["output_residual_stream"] = [1]
    require_error(post(server, streamed), RESIDUAL, "unsupported_value")


def test_the_size_of_activations_is_limited(server, examples, monkeypatch):
    body = body_of(examples[0], [])
    body["vllm_xargs"]["output_residual_stream"] = [1, 2]
    size = 2 * 4 * WIDTH * (post(server, body).json()["usage"]["prompt_tokens"] + TOKENS)
    monkeypatch.setattr(batch, "MAX_ACTIVATION_BYTES", size)
    assert post(server, body).status_code == 200
    monkeypatch.setattr(batch, "MAX_ACTIVATION_BYTES", size - 1)
    require_error(post(server, body), RESIDUAL, "too_many_activations")
    monkeypatch.setattr(limits, "MAX_TOTAL_BYTES", 500_000)
    reply = post(server, body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
    assert server.limits.open_bytes == 0


def test_layers_that_the_model_skips(server, examples, monkeypatch):
    def skip(*_):
        raise CalibError("unsupported", "layer 1 is skipped")

    monkeypatch.setattr(batch, "read_response_activations", skip)
    body = body_of(examples[0], [])
    body["vllm_xargs"]["output_residual_stream"] = [1]
    error = require_error(post(server, body), RESIDUAL, "unsupported_value")
    assert "layer 1" in error["message"] and server.worker.failures == 0


def test_the_order_of_method_and_vectors_in_the_residual_stream(vlm, server, steered, examples):
    first, second = 6 * torch.randn(2, 1, vlm.width, generator=torch.Generator().manual_seed(0))
    vectors = [on_wire(first, [3], -0.5, norm_match=True), on_wire(second, [3])]
    returned = []
    for sent, model in (([], PLAIN), (vectors, CALIBRATED)):
        body = body_of(examples[0], sent, model)
        body["vllm_xargs"]["output_residual_stream"] = [3]
        returned.append(
            stream_of(post(server, body))[0, : len(read_prompt(vlm, examples[0]).tokens)]
        )
    hidden, edited = returned
    hidden = hidden + steered.setting(3, 4.0).intervention.edits[0].operator.vector
    hidden = hidden - 0.5 * hidden.norm(dim=-1, keepdim=True) * first / first.norm()
    assert torch.allclose(edited, hidden + second, atol=1e-3)


def test_positions_outside_of_the_prompt_are_refused(vlm, server, examples):
    length = len(read_prompt(vlm, examples[0]).tokens)
    inside, outside = (
        on_wire(torch.ones(1, 1, vlm.width), [2], positions=[position])
        for position in (length - 1, length)
    )
    post_one = lambda vector: post(server, body_of(examples[0], [inside, vector]))  # noqa: E731
    assert post_one(inside).status_code == 200
    error = require_error(post_one(outside), f"{FIELD}.1.position_indices", "invalid_value")
    assert str(length) in error["message"]


def test_positions_are_refused_where_a_response_takes_several_prompts(vlm):
    method = build_without_examples(vlm, composed("serve", "method=self_check").method)
    served = ServedModel(vlm, "mini", method, None, 1.0, [1.0])
    with ServerThread(served) as server:
        hello = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        for vectors, status in (
            (torch.ones(1, vlm.width), 200),
            (torch.ones(1, 1, vlm.width), 400),
        ):
            xargs = {"vllm_xargs": {"apply_steering_vectors": [on_wire(vectors, [2])]}}
            assert post(server, {"model": "mini", **hello, **xargs}).status_code == status
            assert post(server, {"model": PLAIN, **hello, **xargs}).status_code == 200


def require_error(reply, param, code):
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == (param, code), error
    assert len(error["message"]) < 1000
    return error


WIDTH = 128  # of mini-internvl; a test of its own says so


def vector(shape=(1, WIDTH), value=1.0, **changes):
    """A valid steering vector with some fields changed; None removes a field."""
    fields = {**on_wire(torch.full(shape, value), list(range(shape[0]))), **changes}
    return {name: value for name, value in fields.items() if value is not None}


def tensor(**changes):
    """A steering vector with some fields of its tensor changed."""
    valid = vector()
    return {**valid, "activations": {**valid["activations"], **changes}}


VECTORS = {
    # name: (vector, field at fault, code)
    "another width": (vector((1, WIDTH + 1)), "activations.shape", "invalid_value"),
    "one dimension": (vector((WIDTH,), layer_indices=[1]), "activations.shape", "invalid_value"),
    "four dimensions": (vector((1, 1, 1, WIDTH)), "activations.shape", "invalid_value"),
    "no layers": (vector((0, WIDTH)), "activations.shape", "invalid_value"),
    "no positions": (vector((1, 0, WIDTH)), "activations.shape", "invalid_value"),
    "too few layers": (vector(layer_indices=[1, 2]), "activations.shape", "invalid_value"),
    "a shape below 0": (tensor(shape=[-1, WIDTH]), "activations.shape.0", "invalid_value"),
    "a huge shape": (tensor(shape=[2**31, 2**31, WIDTH]), "activations.shape", "invalid_value"),
    "a shape of other data": (tensor(shape=[1, 1, WIDTH], dtype="float64"), "activations",
                              "unsupported_value"),
    "shape missing": (tensor(shape=None), "activations.shape", None),
    "a field that tensors lack": (tensor(handle="a"), "activations", None),
    "activations a list": (vector(activations=[1.0] * WIDTH), "activations", "invalid_type"),
    "activations missing": (vector(activations=None), "activations", None),
    "pickled activations": (
        vector(activations={"cloudpickle": "gASVAAAAAAAAAAA="}), "activations", None,
    ),
    "no base64": (tensor(data="%%%"), "activations", "invalid_tensor"),
    "no zstd": (tensor(data="AAAA"), "activations", "invalid_tensor"),
    "data a number": (tensor(data=3), "activations.data", "invalid_type"),
    "too many data": (
        tensor(data=encode_tensor(torch.zeros(1 << 22))["data"]), "activations", "invalid_tensor",
    ),
    "integers": (
        tensor(dtype="int64", original_dtype="torch.int64"), "activations", "unsupported_value",
    ),
    "another compression": (tensor(compression="gzip"), "activations", "unsupported_value"),
    "NaN": (vector(value=float("nan")), "activations", "not_finite"),
    "infinity": (vector(value=float("inf")), "activations", "not_finite"),
    "a vector that overflows": (vector(value=1e30, scale=1e30), "scale", "not_finite"),
    "a layer that the model lacks": (vector(layer_indices=[6]), "layer_indices", "invalid_value"),
    "a layer below 0": (vector(layer_indices=[-1]), "layer_indices.0", "invalid_value"),
    "a layer twice": (vector((2, WIDTH), layer_indices=[1, 1]), "layer_indices", "invalid_value"),
    "a layer as text": (vector(layer_indices=["1"]), "layer_indices.0", "invalid_type"),
    "a layer as true": (vector(layer_indices=[True]), "layer_indices.0", "invalid_type"),
    "layers a number": (vector(layer_indices=1), "layer_indices", "invalid_type"),
    "layers missing": (vector(layer_indices=None), "layer_indices", None),
    "scale as text": (vector(scale="2"), "scale", "invalid_type"),
    "scale huge": (vector(scale=10**400), "scale", "invalid_value"),
    "norm_match a number": (vector(norm_match=1), "norm_match", "invalid_type"),
    "positions for all tokens": (
        vector(position_indices=[0]), "position_indices", "invalid_value",
    ),
    "too many positions": (
        vector((1, 1, WIDTH), position_indices=[0, 1]), "position_indices", "invalid_value",
    ),
    "a position below 0": (
        vector((1, 1, WIDTH), position_indices=[-1]), "position_indices.0", "invalid_value",
    ),
    "an unknown field": (vector(strength=1.0), "", None),
    "a number": (3, "", "invalid_type"),
    "a hook": ({"fn": {"cloudpickle": "gASVAAAAAAAAAAA="}, "layer_indices": [1]}, "", None),
}  # fmt: skip


def test_the_width_of_these_requests(vlm):
    assert (vlm.width, vlm.num_layers) == (WIDTH, 6)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("as_text", [True, False])
def test_invalid_vectors_are_refused(server, examples, name, as_text):
    """By the place and the code; the number of the vector is part of the place."""
    sent, field, code = VECTORS[name]
    reply = post(server, body_of(examples[0], [vector(), sent], as_text=as_text))
    require_error(reply, f"{FIELD}.1.{field}".rstrip("."), code)
    assert post(server, body_of(examples[0], [vector()])).status_code == 200
    assert server.limits.open_bytes == 0


XARGS = {
    # name: (vllm_xargs, param, code)
    "a list": ([], "vllm_xargs", "invalid_type"),
    "an unknown field": ({"steer": "[]"}, "vllm_xargs", None),
    "hooks": (
        {"apply_hooks": json.dumps([{"fn": {"cloudpickle": "gA=="}, "layer_indices": [1]}])},
        "vllm_xargs.apply_hooks", "unsupported_value",
    ),
    "a layer to return that the model lacks": (
        {"output_residual_stream": "[2, 6]"}, RESIDUAL, "invalid_value",
    ),
    "a layer to return below 0": ({"output_residual_stream": [-1]}, RESIDUAL, "invalid_value"),
    "a layer to return as text": ({"output_residual_stream": ["1"]}, RESIDUAL, "invalid_type"),
    "a layer to return as true": ({"output_residual_stream": [True]}, RESIDUAL, "invalid_type"),
    "layers to return as a number": ({"output_residual_stream": 3}, RESIDUAL, "invalid_type"),
    "layers to return without JSON": ({"output_residual_stream": "3,"}, RESIDUAL, "invalid_json"),
    "binary activations": (
        {"activations_transport": "binary"}, "vllm_xargs.activations_transport",
        "unsupported_value",
    ),
    "attention": ({"output_qk": "true"}, "vllm_xargs.output_qk", "unsupported_value"),
    "vectors a number": ({"apply_steering_vectors": 3}, FIELD, "invalid_type"),
    "vectors an object": ({"apply_steering_vectors": "{}"}, FIELD, "invalid_type"),
    "vectors no JSON": ({"apply_steering_vectors": "[{"}, FIELD, "invalid_json"),
    "NaN in the text": ({"apply_steering_vectors": "[NaN]"}, FIELD, "invalid_json"),
    "deep lists": ({"apply_steering_vectors": "[" * 100_000}, FIELD, "invalid_json"),
    "too many vectors": (
        {"apply_steering_vectors": [vector()] * 513}, FIELD, "too_many_vectors",
    ),
    "too many layers and positions": (
        {"apply_steering_vectors": [vector((6, 100, WIDTH))]}, FIELD, "too_many_vectors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", XARGS)
def test_other_arguments_are_refused_by_name(server, examples, name):
    xargs, param, code = XARGS[name]
    plain = {"model": PLAIN, "messages": messages_of(examples[0]), "max_tokens": 2}
    require_error(post(server, {**plain, "vllm_xargs": xargs}), param, code)
    assert post(server, plain).status_code == 200


@pytest.mark.parametrize("name", ["apply_steering_vectors", "extra_args", "apply_hooks"])
def test_arguments_outside_of_vllm_xargs_are_refused(server, examples, name):
    plain = {"model": PLAIN, "messages": messages_of(examples[0]), "max_tokens": 2}
    require_error(post(server, {**plain, name: "[]"}), name, "unsupported_value")


def test_commas_hidden_in_the_text_are_counted(server, examples):
    escaped = '{"vllm_xargs": {"apply_steering_vectors": "[' + "0\\u002c" * 1_000_001 + '0]"}, '
    plain = {"model": PLAIN, "messages": messages_of(examples[0]), "max_tokens": 2}
    reply = post(server, (escaped + json.dumps(plain)[1:]).encode())
    require_error(reply, FIELD, "invalid_json")


def test_the_memory_of_decoded_vectors_is_limited(server, examples, monkeypatch):
    body = body_of(examples[0], [vector((6, 30, WIDTH), 0.0)])
    assert post(server, body).status_code == 200
    assert server.limits.open_bytes == 0
    size, compressed = 4 * 6 * 30 * WIDTH, len(json.dumps(body))
    assert size > 2 * compressed
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_TOTAL_BYTES", size)
        reply = post(server, body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
    monkeypatch.setattr(steering_vectors, "MAX_DECODED_BYTES", size - 1)
    require_error(post(server, body), FIELD, "too_many_vectors")
    assert server.limits.open_bytes == 0


def test_logits_that_are_not_finite(server, examples):
    reply = post(server, body_of(examples[0], [vector(value=3e38, layer_indices=[3])] * 2))
    require_error(reply, FIELD, "not_finite")


def test_other_routes_of_the_plugin_say_what_to_do(server):
    for path in ("/v1/hooks/register", "/v1/hooks/collect"):
        reply = send(server, "POST", path, b"{}", {"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unsupported_value")
    reply = send(server, "POST", "/v1/completions", b"{}", {"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_url")
