"""Input that could not be used, from the record that keeps it to the person who puts it right.

record.py is written by workers and log.py read by people; requeueing.py sends messages back; holds.py and accepting.py
let a person answer for a partition with too many of them.
"""
