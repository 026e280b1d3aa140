"""How a cut becomes durable: outputs and input offsets, as one transaction (exactly_once) or one after the other; then
the state.

publisher.py has the order of the steps, saver.py the last of them; outbox.py and parcel.py are what the pipeline hands
it. failures.py says what may go wrong and what is known then; producer.py hands records to the client; exactly_once.py
and at_least_once.py have the same steps; calls.py keeps a call that hangs from stopping the worker.
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
