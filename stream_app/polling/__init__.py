"""From Kafka to the pipeline: the poll thread, the partitions it owns, and the poll batches it hands on.

consumer.py is the thread. subscription.py handles the consumer's side of partitions that come and go (callbacks, seeks,
pauses), assignment.py our side (states, owners). intake.py holds what was fetched; poll_batch.py is what is handed on:
messages and changes of ownership, in one order.
"""
