"""Kafka beside the worker's own path: addresses, client properties, topics, readers of topics, and a producer for
files.
"""
