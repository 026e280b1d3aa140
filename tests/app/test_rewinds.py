"""A failed transaction goes again when nothing of it counts; otherwise everything rewinds, and nothing is doubled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.delivery.failures import Aborted
from stream_app.delivery.parcel import TransactionCut
from stream_app.delivery.publisher import Publisher
from stream_app.recovery.rewinds import Rewinds
from stream_app.settings import Limits

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
