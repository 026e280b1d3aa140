"""Forecasting without I/O: no environment, sockets, wall clock, logging, Kafka, Redis, Faust.

partition.py is the state of one partition and composes the rest: readings become cells and windows (readiness.py, phase
A), windows are forecast (predictor.py), earlier forecasts are scored and new ones calibrated (settlement.py, phase C).
training/ makes a model, gate/ judges it. docs/ARCHITECTURE.md has a table of all files.
"""
