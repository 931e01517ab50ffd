"""Benchmarks of the sweep engine: exact counts, time, peers, and a GPU where one is at hand."""

import os

# Before anything imports transformers: no benchmark may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
