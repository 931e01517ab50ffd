"""What must stand before any test imports torch or transformers."""

import os

# No test may reach the network: a model that is not here fails at once instead of after retries.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models of the tests are small: more threads cost more than they give, and one thread adds up
# floats in the same order everywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
