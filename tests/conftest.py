"""Environment variables for torch and transformers, marks by folder, and shared fixtures."""

import functools
import gc
import os
import signal

# No test may use the network: a missing model fails at once instead of after retries.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are small, so more threads would be slower. One thread also adds floats in
# the same order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

# A shell lets the commands that it starts in the background ignore Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A file must survive a crash of the machine in use, not in tests, where waiting for the disk would
# leave a worker idle. Tests of it watch os.fsync themselves; started processes have the real one.
os.fsync = lambda descriptor: None

# Collected items and imported libraries stay until the end. The garbage collector would pass over
# their millions of objects again and again: it starts afterwards, with none of them.
gc.disable()

from pathlib import Path  # noqa: E402 - after the variables above

import pytest  # noqa: E402

TESTS = Path(__file__).parent
MARKS = {
    "docs": ("docs", "notebooks"),
    "servers": ("serving", "commands/test_serve.py"),
    "browser": ("report/page/test_in_chromium.py",),
    "slow": (
        "api/test_calibrated.py", "api/test_sweeps.py", "benchmarks", "cli", "commands",
        "data/dualbench/test_loading.py",
        "data/dualbench/test_rendered_set.py", "engine/test_activations.py",
        "engine/test_families.py", "engine/test_reference_logits.py", "engine/test_sampling.py",
        "engine/test_sites.py", "experiments/test_experiments.py",
        "judges/test_string_measured.py", "methods/test_combine.py", "methods/test_ecso.py",
        "methods/test_every_method.py", "methods/test_mixed_rows.py", "methods/test_steer.py",
        "models/test_families.py", "properties/test_openapi.py", "properties/test_settings.py",
        "runs/test_kl_budget.py", "runs/test_layer_effects.py",
        "runs/test_prompt_flows.py", "runs/test_shards.py", "test_package.py",
    ),
}  # fmt: skip
"""Folders and files of each mark. `make test-fast` omits them; slow ones take more than about five
seconds each."""


def pytest_collection_modifyitems(items):
    for item in items:
        for mark in marks_of(item.path):
            item.add_marker(mark)


@functools.cache
def marks_of(path):
    """The marks of a test file."""
    return [m for m, paths in MARKS.items() if any(path.is_relative_to(TESTS / p) for p in paths)]


def pytest_collection_finish():
    gc.freeze()
    # Rarely: by default it takes a twelfth of the time of tests that compose configurations.
    gc.set_threshold(50_000, 20, 10)
    gc.enable()


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
