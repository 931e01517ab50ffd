"""The function that edits activations inside vLLM: positions, coverage, and code by value."""

import subprocess
import sys
import types

import pytest
import torch

from calib.engine.operators import Add, AddByNormKeepingNorm
from calib.engine.vllm import hook_code

WIDTH = 4
PROMPT = 6


@pytest.fixture
def passes(monkeypatch):
    """Call a hook with a request's tokens from a position on, as the second request of a batch."""
    metadata = {}
    module = types.ModuleType("vllm.forward_context")
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.forward_context", module)
    context = types.SimpleNamespace(layer_idx=2, saved={})

    call_layers = {}
    module.get_forward_context = lambda: types.SimpleNamespace(
        attn_metadata=metadata, no_compile_layers=call_layers
    )

    def call(hook, first, count, known=True):
        metadata["state"] = types.SimpleNamespace(state_indices=[0])  # of a hybrid decoder
        metadata["layer"] = types.SimpleNamespace(
            query_start_loc=torch.tensor([0, 2, 2 + count if known else 3 + count]),
            seq_lens=torch.tensor([9, first + count]),
        )
        batch = torch.zeros(2 + count, WIDTH)
        edited = hook(context, batch[2:])
        return None if edited is None else edited.sum(-1).tolist()

    call.saved, call.layers = context.saved, call_layers
    return call


def addition(mask=None, generated=True):
    formula, tensors = Add.formula, (torch.full((WIDTH,), 0.25),)
    return hook_code.edit_function({2: [(formula, tensors, mask, generated)]}, PROMPT)


def test_positions_are_those_of_the_sequence_in_every_pass(passes):
    mask = torch.tensor([True, False, False, False, True, True])
    hook = addition(mask, generated=False)
    assert passes(hook, 0, 4) == [1, 0, 0, 0]
    assert passes(hook, 4, 3) == [1, 1, 0]
    assert passes(hook, 7, 1) is None
    assert passes(addition(mask), 7, 1) == [1]
    assert passes(addition(), 1, 7) == [1] * 7


def test_coverage_counts_tokens_without_a_gap_and_again_after_a_preemption(passes):
    hook, key = addition(), f"{hook_code.COVERED}2"
    passes(hook, 0, 4)
    passes(hook, 4, 2)
    assert passes.saved[key] == 6
    passes(hook, 7, 1)  # position 6 was never seen
    assert passes.saved[key] == 6
    passes(hook, 0, 5)
    assert passes.saved[key] == 5


def test_errors_are_recorded_and_not_raised(passes):
    assert passes(addition(), 0, 3, known=False) is None
    assert "attention metadata" in passes.saved[hook_code.ERROR]
    assert f"{hook_code.COVERED}2" not in passes.saved


def test_the_cache_keeps_its_finite_values_and_no_others(passes):
    keys = torch.tensor([1.0, torch.nan, torch.inf, -2.0])
    states = [torch.tensor([-torch.inf, 3.0], dtype=torch.bfloat16), torch.empty(0)]
    quantized = torch.tensor([255], dtype=torch.uint8)
    for name, kept in (("a", keys), ("b", states), ("c", quantized), ("d", None)):
        passes.layers[name] = types.SimpleNamespace(kv_cache=kept)
    passes.layers["e"] = object()
    hook = hook_code.cleaning_function()
    assert passes(hook, 0, 2) is None
    assert keys.tolist() == [1, 0, 0, -2] and states[0].tolist() == [0, 3]
    assert quantized.tolist() == [255] and passes.saved == {hook_code.CLEANED: 2}
    keys[0] = torch.nan
    passes(hook, 0, 2)  # at the next layer
    assert keys[0].isnan()


def test_the_code_runs_where_calib_is_not_installed(tmp_path):
    cloudpickle = pytest.importorskip("cloudpickle")
    hook_code.registered()
    tensors = AddByNormKeepingNorm(torch.eye(WIDTH)[0], 2.0).tensors()
    edits = {2: [(AddByNormKeepingNorm.formula, tensors, None, True)]}
    path = tmp_path / "hook"
    path.write_bytes(cloudpickle.dumps(hook_code.edit_function(edits, PROMPT)))
    code = (
        "import sys, types, pickle, pathlib, torch\n"
        "sys.modules['calib'] = None\n"
        "module = types.ModuleType('vllm.forward_context')\n"
        "part = types.SimpleNamespace(query_start_loc=[0, 1, 4], seq_lens=[1, 3])\n"
        "forward = types.SimpleNamespace(attn_metadata={'layer': part})\n"
        "module.get_forward_context = lambda: forward\n"
        "sys.modules['vllm'] = types.ModuleType('vllm')\n"
        "sys.modules['vllm.forward_context'] = module\n"
        f"hook = pickle.loads(pathlib.Path({str(path)!r}).read_bytes())\n"
        "context = types.SimpleNamespace(layer_idx=2, saved={})\n"
        "print(hook(context, torch.eye(4)[1:]).norm(dim=-1).round(decimals=4).tolist())\n"
        "print(context.saved)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        encoding="utf-8",
    )
    assert done.stdout.splitlines() == ["[1.0, 1.0, 1.0]", "{'covered 2': 3}"]
