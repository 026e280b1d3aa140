"""How good forecasts of demand are: `python -m benchmarks.demand`."""
