"""The client of vllm-lens and its provider for inspect-ai steer requests through the server.

CALIB_VLLM_LENS_PYTHON is the path of a Python interpreter with vllm-lens, and for one of the tests
also inspect-ai; by default it is this one, if vllm-lens is installed. Its dependency vllm is not
needed, and calib's environment is too new for vllm, so it gets an environment of its own, here with
the torch of calib:

    python -m venv .venv-lens
    echo $PWD/.venv/lib/python3.11/site-packages > .venv-lens/lib/python3.11/site-packages/calib.pth
    .venv-lens/bin/pip install --no-deps --ignore-requires-python vllm-lens==1.3.0
    .venv-lens/bin/pip install cloudpickle zstandard requests inspect-ai
    CALIB_VLLM_LENS_PYTHON=.venv-lens/bin/python make test
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from server_thread import TOKENS, messages_of, post

from calib.api import Model
from calib.engine.edits import Edit
from calib.engine.engine import generate
from calib.engine.operators import AddByNorm
from calib.engine.request import Decoding, Request
from calib.engine.vllm.server.tensors import decode_tensor, encode_tensor
from calib.interventions.steering import operator_at
from calib.models.prompt_batch import PromptToken
from calib.models.prompts import read_prompt

PYTHON = os.environ.get("CALIB_VLLM_LENS_PYTHON") or (
    sys.executable if importlib.util.find_spec("vllm_lens") else None
)
pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="CALIB_VLLM_LENS_PYTHON names no Python with vllm-lens"
)


@pytest.fixture(scope="module")
def rows(vlm, direction, mixed_examples):
    """Requests for the client, and the response of each in Python."""
    model, rows = Model(vlm), []
    examples = [e for e in mixed_examples if not e.system and not e.demonstrations]
    chosen = [e for e in examples if e.picture][:3] + [e for e in examples if not e.picture][:2]
    for example in chosen:
        for layer, strength in ((3, -4.0), (2, 4.0), (3, 0.0)):
            vector = operator_at("add", direction, layer, 1.0).vector
            fields = {"activations": [vector.tolist()], "layer_indices": [layer], "scale": strength}
            with model.steer(direction, strength, layer, "all", "add"):
                expected = model.generate(example, max_new_tokens=TOKENS)
            rows.append((example, fields, expected))
        draw = torch.Generator().manual_seed(0)
        vector, length = (
            torch.randn(vlm.width, generator=draw),
            len(read_prompt(vlm, example).tokens),
        )
        fields = {
            "activations": [[vector.tolist()]],
            "layer_indices": [1],
            "scale": 1.5,
            "norm_match": True,
            "position_indices": [length - 2],
        }
        operator = AddByNorm(vector / (vector.norm() + 1e-6), 1.5)
        edits = (Edit(1, operator, PromptToken(2)),)
        decoding = Decoding(max_new_tokens=TOKENS, kl=False)
        expected = generate(vlm, [Request(example, edits)], decoding)[0].text
        rows.append((example, fields, expected))
    return rows


def responses(server, way, rows, folder):
    path = folder / "requests.json"
    requests = [
        {"messages": messages_of(example), "max_tokens": TOKENS, "vectors": [fields]}
        for example, fields, _ in rows
    ]
    path.write_text(json.dumps(requests), encoding="utf-8")
    script = Path(__file__).with_name("vllm_lens_client.py")
    done = subprocess.run(
        [PYTHON, script, way, server.url, "mini-uncalibrated", path],
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def require_activations(server, rows, received):
    """The residual stream of layer 2 at the last token read, as a plain request gets it."""
    for (example, fields, _), (_, last) in zip(rows, received, strict=True):
        vector = {**fields, "activations": encode_tensor(torch.tensor(fields["activations"]))}
        xargs = {"apply_steering_vectors": [vector], "output_residual_stream": [2]}
        body = {"messages": messages_of(example), "max_tokens": TOKENS, "vllm_xargs": xargs}
        reply = post(server, {"model": "mini-uncalibrated", **body}).json()
        stream = decode_tensor(**reply["activations"]["residual_stream"])
        assert torch.allclose(torch.tensor(last), stream[0, -1], atol=1e-4)


def test_the_client_gets_the_responses_of_the_library(server, rows, tmp_path):
    received = responses(server, "client", rows, tmp_path)
    expected = [text for _, _, text in rows]
    assert [text for text, _ in received[:-3]] == expected
    require_activations(server, rows, received[:-3])
    assert len(set(expected)) > len(rows) // 4
    refused, registered, completion = received[-3:]
    assert "vllm_xargs.apply_hooks" in refused["error"]
    assert "/v1/hooks" in registered["error"]
    assert "/v1/chat/completions" in completion["error"]


def test_inspect_gets_the_responses_of_the_library(server, rows, tmp_path):
    found = subprocess.run([PYTHON, "-c", "import inspect_ai"], capture_output=True)
    if found.returncode:
        pytest.skip("the Python with vllm-lens has no inspect-ai")
    received = responses(server, "inspect", rows, tmp_path)
    assert [text for text, _ in received] == [text for _, _, text in rows]
    require_activations(server, rows, received)
