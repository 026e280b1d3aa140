"""What several parts need of Kafka: addresses, client properties, topics, and readers of topics for people."""
