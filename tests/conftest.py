"""What must stand before any test imports torch or transformers."""

import os

# No test may reach the network: a model that is not here fails at once instead of after retries.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are small: more threads cost more than they give, and one thread adds up
# floats in the same order everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402 - after the variables above


@pytest.fixture(scope="session")
def vlm():
    """mini-internvl as the package ships it."""
    from calib.config.model import ModelConfig
    from calib.models.load import load

    return load(ModelConfig(name="internvl"))


@pytest.fixture(scope="session")
def mixed_examples():
    """A dozen test examples of all parts, of different lengths, with and without a picture."""
    from calib.data.mini.examples import DATASETS, load

    chosen = [example for example in load(DATASETS, limit=16) if example.split == "test"][::6]
    plain = [e for e in load(["text_centric"], limit=200) if e.picture is None][:2]
    return [*chosen[:10], *plain]


@pytest.fixture
def undrawn():
    """Figures are not rendered within the test; see tests/in_process.py."""
    import in_process

    with in_process.undrawn():
        yield
