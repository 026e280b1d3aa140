"""How often a page is told that something has changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stream_app.api import events


class Known:
    """Each turn finds something new; `late` and `reasons`: what it says of itself, by turn."""

    passed_over = 0

    def __init__(self, late: Callable[[int], bool], reasons: Callable[[int], dict[str, str]] = lambda _: {}) -> None:
        self.turn = 0
        self._late, self._reasons = late, reasons

    @property
    def views(self) -> dict[str, Any]:
        self.turn += 1
        roster = SimpleNamespace(find=lambda series_id: None)
        return {"tides": SimpleNamespace(version=self.turn, roster=roster)}

    @property
    def gives_way(self) -> bool:
        return self._late(self.turn)

    @property
    def readiness(self) -> Any:
        return SimpleNamespace(reasons=self._reasons(self.turn))


def turns_told(known: Known, events_wanted: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    monkeypatch.setattr(events, "EVERY_S", 0)

    async def take(told: AsyncIterator[str]) -> list[int]:
        versions = []
        async for each in told:
            if each.startswith("data: "):
                versions.append(json.loads(each.removeprefix("data: "))["version"])
            if len(versions) == events_wanted:
                break
        return versions

    return asyncio.run(take(events._changes(known, "tides", None)))  # type: ignore[arg-type]


def test_what_is_new_is_told_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert turns_told(Known(lambda turn: False), 4, monkeypatch) == [1, 2, 3, 4]


def test_while_the_page_gives_way_it_is_told_every_few_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert turns_told(Known(lambda turn: True), 3, monkeypatch) == [1, 1 + events.LATE_TURNS, 1 + 2 * events.LATE_TURNS]


def test_that_it_gives_way_or_is_not_current_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(lambda turn: 3 <= turn < 9, lambda turn: {"kafka": "away"} if turn == 5 else {})
    assert turns_told(known, 7, monkeypatch) == [1, 2, 3, 5, 6, 9, 10]
