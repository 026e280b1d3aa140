"""Everything of tidecast that touches the world: Kafka, Redis, files, clocks, processes and people.

app.py wires a worker, worker.py runs it. One reading goes through

    polling/ → agents.py → pipeline/ (wire/, models/) → delivery/ → checkpoints/    and recovery/ after what went wrong

training/ and models/ are how a worker comes by its model; cli/ has one file a command. docs/ARCHITECTURE.md follows a
reading by the names of functions, and says which package may import which.
"""
