"""vLLM in this process, for each family of models; skipped where vLLM is not installed.

`make vllm` installs it and runs these tests. A family's vLLM is started once, for all tests.
"""

import importlib.util
import os

# Before vLLM is imported: no usage statistics, little memory, and no second process for its engine,
# which would import everything again.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

from collections.abc import Iterator  # noqa: E402 - after the variables above

import pytest  # noqa: E402
from vllm_worlds import FAMILIES, World, opened  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def installed():
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: make vllm")


@pytest.fixture(scope="session", params=FAMILIES)
def world(request, tmp_path_factory, installed) -> Iterator[World]:
    """A family's model, in transformers and in vLLM."""
    with opened(request.param, tmp_path_factory.mktemp(request.param)) as world:
        yield world
