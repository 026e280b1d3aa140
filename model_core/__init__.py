"""Forecasting without I/O: no environment, sockets, wall clock, logging, Kafka, Redis, Faust."""
