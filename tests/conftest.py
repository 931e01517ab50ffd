"""Environment variables for torch and transformers, marks by folder, and shared fixtures."""

import os

# No test may use the network: a missing model fails at once instead of after retries.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are small, so more threads would be slower. One thread also adds floats in
# the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path  # noqa: E402 - after the variables above

import pytest  # noqa: E402

TESTS = Path(__file__).parent
MARKS = {
    "docs": "docs",
    "notebooks": "docs",
    "serving": "servers",
    "commands/test_serve.py": "servers",
    "commands": "slow",
    "data/dualbench/test_rendered_set.py": "slow",
    "engine/test_families.py": "slow",
    "engine/test_reference_logits.py": "slow",
    "engine/test_sites.py": "slow",
    "experiments/test_experiments.py": "slow",
    "methods/test_every_method.py": "slow",
    "methods/test_mixed_rows.py": "slow",
    "report/page/test_in_chromium.py": "browser",
}
"""Marks of all tests in a folder or a file; `make test-fast` leaves them out."""


def pytest_collection_modifyitems(items):
    for item in items:
        for path, mark in MARKS.items():
            if item.path.is_relative_to(TESTS / path):
                item.add_marker(mark)


@pytest.fixture(scope="session")
def vlm():
    """mini-internvl, loaded from the package."""
    from calib.config.model import ModelConfig
    from calib.models.load import load

    return load(ModelConfig(name="internvl"))


@pytest.fixture(scope="session")
def mixed_examples():
    """A dozen test examples of all parts and of different lengths, with and without images."""
    from calib.data.mini.examples import DATASETS, load

    chosen = [example for example in load(DATASETS, limit=16) if example.split == "test"][::6]
    plain = [e for e in load(["text_centric"], limit=200) if e.picture is None][:2]
    return [*chosen[:10], *plain]


@pytest.fixture
def undrawn():
    """Replace the rendering of figures by empty files, to save time."""
    import in_process

    with in_process.undrawn():
        yield
