"""`python -m benchmarks.retraining`: what another training costs as a stream grows old, and what fading is worth."""
