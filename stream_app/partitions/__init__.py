"""What a worker calls a partition, what of it is its own, and what was decided about it beyond its log.

All threads pass these on (polling/, pipeline/, delivery/, recovery/), so that none of them owns the words. names.py
is what a partition is called; owned.py is one while it is ours; journaled.py are its decisions. Nothing here acts.
"""
