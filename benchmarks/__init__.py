"""Benchmarks: exact counts, time, memory, other tools, latency, and a GPU if available."""

import os

# Before transformers is imported: no benchmark may use the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
