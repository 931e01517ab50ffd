from types import SimpleNamespace

import pytest
from raising import raises

from calib.runs.engines import require_same_vllm

MANIFEST = {"provenance": {"engine": {"vllm": "0.32.0", "dtype": "float32", "replicas": 1}}}


def backend(**described):
    return SimpleNamespace(describe=lambda: described)


@pytest.mark.parametrize(
    ("manifest", "now"),
    [
        (MANIFEST, backend(vllm="0.32.0", dtype="float32", replicas=4)),
        (MANIFEST, backend(vllm=None, dtype="float32")),  # the server does not say
        (MANIFEST, None),
        ({"provenance": {}}, backend(vllm="0.33.0")),
        ({}, None),
    ],
)
def test_a_run_is_resumed_with_the_vllm_of_its_rows(manifest, now, tmp_path):
    require_same_vllm(tmp_path, manifest, now)


def test_a_run_is_not_resumed_with_another_vllm(tmp_path):
    with raises("different-run", tmp_path, "vllm: 0.32.0 → 0.33.0", "dtype: float32 → bfloat16"):
        require_same_vllm(tmp_path, MANIFEST, backend(vllm="0.33.0", dtype="bfloat16"))
