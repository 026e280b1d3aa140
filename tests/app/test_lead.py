"""How much earlier cuts come, by what transactions took."""

from __future__ import annotations

import pytest

from stream_app.delivery.lead import Lead


def after(takes_s: float, late_s: float | None, times: int = 200) -> float:
    lead = Lead(0.1)
    for _ in range(times):
        lead.note(takes_s, late_s)
    return lead.seconds


def test_it_is_the_way_from_due_to_committed() -> None:
    assert after(0.015, 0.01) == pytest.approx(0.025)
    assert after(0.015, None) == pytest.approx(0.015)


def test_cuts_leave_each_other_room() -> None:
    assert after(0.04, 0.03) == pytest.approx(0.04)  # 60 ms from cut to cut
    assert after(0.0499, 0.5) == pytest.approx(0.1 - 1.5 * 0.0499)


def test_in_a_backlog_there_is_none() -> None:
    assert after(0.051, 0.0) == 0.0
    assert after(3.0, 5.0) == 0.0


def test_one_slow_transaction_is_not_the_rule() -> None:
    lead = Lead(0.1)
    for _ in range(200):
        lead.note(0.01, 0.0)
    lead.note(0.2, 0.0)
    assert lead.seconds == pytest.approx(0.029)
