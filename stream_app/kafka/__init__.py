"""What several parts need of Kafka: addresses, client properties, topics, readers of topics for people, and a
producer of files of readings."""
