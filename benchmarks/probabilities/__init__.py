"""Probabilities in the stream: what a worker publishes, forecast by forecast, against what came."""
