"""A failed transaction goes again when nothing of it counts; otherwise everything rewinds, and nothing is doubled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.delivery.commits import Committed
from stream_app.delivery.failures import Aborted
from stream_app.delivery.outbox import Outbox
from stream_app.delivery.parcel import Parcel, TransactionCut
from stream_app.delivery.publisher import Publisher
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Receipt
from stream_app.polling.assignment import Assignment
from stream_app.polling.poll_batch import Released
from stream_app.recovery.rewinds import Rewinds
from stream_app.settings import Limits, Settings

pytestmark = pytest.mark.timeout(300)
SERIES = 4


def test_a_rewind_waits_for_the_publishers_word() -> None:
    rewinds = Rewinds()
    number = rewinds.ask("partitions were lost")
    assert rewinds.is_asked
    assert rewinds.take() is None
    rewinds.clear(number)
    assert rewinds.take() == number
    assert not rewinds.is_asked


def test_a_rewind_that_is_asked_for_again_needs_the_word_again() -> None:
    rewinds = Rewinds()
    rewinds.clear(rewinds.ask("first"))
    second = rewinds.ask("second")
    assert rewinds.take() is None
    rewinds.clear(second)
    assert rewinds.take() == second


def test_an_aborted_transaction_does_not_go_again_once_a_rewind_is_asked_for() -> None:
    """Also one without offsets: what is asked for meanwhile makes all of it anew."""
    rewinds, attempts = Rewinds(), list[str]()

    def refuse(permit: object) -> None:
        attempts.append("refused")
        rewinds.ask("partitions were lost")
        raise Aborted("no member any more")

    steps = dict.fromkeys(("begin", "flush", "commit", "abort"), lambda: None)
    delivery: Any = SimpleNamespace(**steps, ask=lambda offsets: None, send_offsets=refuse, is_transactional=True)
    anything: Any = SimpleNamespace()
    settings: Any = SimpleNamespace(limits=Limits())
    publisher = Publisher(
        settings,
        delivery=delivery,
        rewinds=rewinds,
        saver=anything,
        health=anything,
        metrics=anything,
        on_fatal=lambda error: None,
    )
    with pytest.raises(Aborted):
        publisher._attempt(TransactionCut({}))
    assert attempts == ["refused"]


def test_what_stays_is_published_and_committed_also_when_other_partitions_were_released_too_late() -> None:
    """At least once: what was left in the pipeline was dropped, and no offset of the cut was ever committed."""
    stays: Any = SimpleNamespace()
    at, outbox, produced, saved = StreamPartition("tides", 1), Outbox(records=1), list[Any](), list[Any]()
    steps = dict.fromkeys(("begin", "flush", "commit", "abort"), lambda: None)
    delivery: Any = SimpleNamespace(
        **steps,
        ask=lambda offsets: offsets,
        produce=produced.append,
        send_offsets=lambda offsets: Committed(frozenset(offsets)),
        is_transactional=False,
    )
    anything: Any = SimpleNamespace(
        publishing=lambda: None, submit=saved.append, transaction_seconds=SimpleNamespace(observe=lambda _: None)
    )
    settings: Any = SimpleNamespace(limits=Limits())
    publisher = Publisher(
        settings,
        delivery=delivery,
        rewinds=Rewinds(),
        saver=anything,
        health=anything,
        metrics=anything,
        on_fatal=lambda error: None,
    )
    released = Released(frozenset([StreamPartition("tides", 0)]), Receipt())
    assert not _assignment().released(released), "it is not complete: too late"
    publisher._carry_out(Parcel(outbox, TransactionCut({at: (stays, 7)}, receipt=released.receipt)))
    assert produced == [outbox]
    assert [done.committed.wait() for done in saved] == [{at}]


def _assignment() -> Assignment:
    health: Any = SimpleNamespace(released=lambda _: None, assigned=lambda _: None)
    restorer: Any = None
    return Assignment(Settings(), restorer=restorer, health=health)
