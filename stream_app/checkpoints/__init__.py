"""Partition state in Redis. store.py reads as the order of a checkpoint; state_copy.py says what goes where, header.py
what a checkpoint says of itself, commands.py how writes are fenced, reading.py what is believed; sizing.py how much a
series takes. delivery/saver.py is the thread that writes it, when its offset is committed.
"""

from stream_app.checkpoints.client import connect
from stream_app.checkpoints.commands import BaseMismatch, NoSuchDatabase, OwnershipLost, StoreUnavailable
from stream_app.checkpoints.header import Identity, StateMismatch
from stream_app.checkpoints.state_copy import StateCopy
from stream_app.checkpoints.store import CheckpointStore, OwnerToken, Restored, Written

__all__ = [
    "BaseMismatch",
    "CheckpointStore",
    "Identity",
    "NoSuchDatabase",
    "OwnerToken",
    "OwnershipLost",
    "Restored",
    "StateCopy",
    "StateMismatch",
    "StoreUnavailable",
    "Written",
    "connect",
]
