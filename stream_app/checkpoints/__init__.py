"""Partition state in Redis.

store.py has the order of a checkpoint, state_copy.py says which piece goes where, header.py describes a checkpoint,
commands.py fences the writes, reading.py reads a checkpoint and checks that it is whole, and sizing.py computes how
much memory a series takes. delivery/saver.py is the thread that writes checkpoints, once their offsets are committed.
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
