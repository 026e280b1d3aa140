"""From Kafka to the pipeline: the poll thread, the partitions it owns, and the batches it hands on.

consumer.py is the thread. subscription.py is the consumer's side of partitions that come and go (callbacks, seeks,
pauses), assignment.py ours (states, owners). intake.py is what was fetched, poll_batch.py what travels on: messages and
changes of ownership in one order.
"""
