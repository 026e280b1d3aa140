"""From Kafka to the pipeline: the poll thread, the partitions it owns, and the batches it hands on.

consumer.py is the thread; ownership.py and assignment.py take and release partitions in its callbacks; poll_batch.py is
what travels, messages and changes of ownership in one order.
"""
