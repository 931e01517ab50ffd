"""The mini world: a procedural substitute for VSCBench and DUAL-Bench, without downloads."""
