"""The mini world: a procedural stand-in for VSCBench and DUAL-Bench that needs no download."""
