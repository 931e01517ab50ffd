"""Checkpoint folders: files, weights, and the conversion of the original LLaVA format."""
