"""The ladder in pictures, drawn from what a real worker publishes. `python -m benchmarks.ladder`."""
