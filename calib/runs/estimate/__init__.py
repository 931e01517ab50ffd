"""A plan before a sweep starts: its rows, its memory and its time."""
