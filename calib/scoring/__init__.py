"""Scoring: labels to rates, clusters, intervals, tests and the trade-off of safety and utility."""
