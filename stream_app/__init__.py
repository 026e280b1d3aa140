"""Everything of tidecast that touches the world: Kafka, Redis, files, clocks, processes and people.

app.py wires a worker, worker.py runs it. One reading goes through

    polling/ → wire/ → pipeline/ → delivery/ → checkpoints/        and recovery/ after whatever went wrong

training/ and models/ are how a worker comes by its model; cli/ has one file a command.
"""
