"""How a partition goes on after a crash, a rebalance or a failed commit, with nothing lost and nothing published twice.

restore.py decides where reading begins, rebuild.py does so if the state is lost, and journal.py reads earlier
decisions, which pipeline/replay.py follows. rewinds.py is the same within a running process; reset.py moves a stopped
deployment.
"""
