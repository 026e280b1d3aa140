"""What tidecast costs, measured on a real Kafka and a real Valkey: `make bench`. Read README.md here first."""
