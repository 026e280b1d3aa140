"""A failed transaction goes again when nothing of it counts; otherwise everything rewinds, and nothing is doubled."""

from __future__ import annotations

import pytest

from stream_app.recovery.rewinds import Rewinds

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
