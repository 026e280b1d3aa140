"""What operators see of a running worker: metrics, health, logs, traces."""
