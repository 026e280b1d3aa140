"""Everything of tidecast that touches the world: Kafka, Redis, files, clocks, processes and people.

app.py wires a worker, worker.py runs it. A reading passes through

    polling/ → agents.py → pipeline/ (wire/, models/) → delivery/ → checkpoints/

and recovery/ restores a partition after a crash or a rebalance. training/ and models/ provide the worker's model; cli/
has one file for each command. docs/ARCHITECTURE.md follows a reading function by function, and says which package may
import which.
"""
