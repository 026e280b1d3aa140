"""How good the forecasts are, on published protocols. `python -m benchmarks.accuracy --data DIR`."""
