"""How a cut becomes durable: outputs and input offsets, as one transaction (exactly_once) or one after the other
(at_least_once), and then the state.

publisher.py has the steps in order, saver.py is the last of them. outbox.py and parcel.py are what the pipeline hands
over. exactly_once.py and at_least_once.py carry out the steps; producer.py hands records to the client, calls.py keeps
a hanging call from stopping the worker, and failures.py names what can go wrong, by what is known afterwards.
"""

from stream_app.delivery.at_least_once import AtLeastOnce
from stream_app.delivery.commits import CommitFailed, CommitRequest, Committed
from stream_app.delivery.exactly_once import ExactlyOnce
from stream_app.delivery.failures import Aborted, ProducerLost, PublishFailed

__all__ = [
    "Aborted",
    "AtLeastOnce",
    "CommitFailed",
    "CommitRequest",
    "Committed",
    "ExactlyOnce",
    "ProducerLost",
    "PublishFailed",
]
