"""Drift: how often the detectors cry wolf on real data, and how soon they see what is there."""
