"""Partition state in Redis. store.py reads as the order of a checkpoint; cut.py says what goes where, header.py what a
checkpoint says of itself, commands.py how writes are fenced, reading.py what is believed; sizing.py how much a series
takes. delivery/saver.py is the thread that writes it, when its offset is committed.
"""

from stream_app.checkpoints.client import connect
from stream_app.checkpoints.commands import BaseMismatch, OwnershipLost, StoreUnavailable
from stream_app.checkpoints.cut import Cut
from stream_app.checkpoints.header import Identity, StateMismatch
from stream_app.checkpoints.store import CheckpointStore, OwnerToken, Restored, Written

__all__ = [
    "BaseMismatch",
    "CheckpointStore",
    "Cut",
    "Identity",
    "OwnerToken",
    "OwnershipLost",
    "Restored",
    "StateMismatch",
    "StoreUnavailable",
    "Written",
    "connect",
]
