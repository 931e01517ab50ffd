"""Packages that vLLM needs are missed before anything is loaded."""

import sys

import pytest
from raising import raises

from calib.config.engine import VllmChoice
from calib.engine.vllm.packages import require_packages


@pytest.mark.parametrize(
    ("absent", "settings", "named"),
    [
        ("vllm", {}, "docs/scale.md"),
        ("vllm_lens", {}, "vllm_lens"),
        ("openai", {"base_url": "http://a:1"}, "calib[vllm]"),
        ("cloudpickle", {"base_url": "http://a:1", "hooks": True}, "calib[vllm]"),
    ],
)
def test_a_missing_package_is_named(absent, settings, named, monkeypatch):
    monkeypatch.setitem(sys.modules, absent, None)
    with raises("needs-package", named):
        require_packages(VllmChoice(**settings))


def test_a_client_that_sends_no_code_needs_no_cloudpickle(monkeypatch):
    pytest.importorskip("openai")
    pytest.importorskip("zstandard")
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    require_packages(VllmChoice(base_url="http://a:1"))
