"""Input that could not be used, from the record that keeps it to the person who deals with it.

Workers write record.py, people read log.py; requeueing.py sends messages back. holds.py and accepting.py let a person
decide about a partition with too many dead letters.
"""
