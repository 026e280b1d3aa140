"""Everything of tidecast that touches the world: Kafka, Redis, files, clocks, processes and people."""
