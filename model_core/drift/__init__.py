"""Drift statistics, one detector a file: each takes one standardised value a series and tick."""
