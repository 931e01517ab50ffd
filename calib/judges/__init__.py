"""Judges: who says what a response is, one file each.

A judge gives responses their labels (calib.scoring.judged) and is told by its id, which names
everything that its labels depend on.
"""
