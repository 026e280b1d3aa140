"""How a partition goes on after a crash, a rebalance or a failed commit: nothing is lost, nothing published twice.

restore.py says where it begins, and rebuild.py where it does when the state is lost; journal.py reads the decisions of
before, which pipeline/replay.py follows; rewinds.py does so within the process; reset.py moves a deployment that is
stopped.
"""
