"""The table of the second mini world, with held-out concepts."""
