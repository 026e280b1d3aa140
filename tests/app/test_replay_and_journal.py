"""Replay takes decisions where they were taken, and sends nothing twice; a commit never takes another owner's back."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from model_core.outcomes import DriftRecord, Forecasts, Outcome, Scored, Summaries
from stream_app.delivery.commits import CommitFailed, CommitRequest, OffsetCommits
from stream_app.partitions.journaled import Decision, Journaled, ModelFailed
from stream_app.partitions.names import StreamPartition
from stream_app.partitions.owned import Owned
from stream_app.pipeline.replay import clock_verdicts, since, stretches
from stream_app.polling.idleness import Idleness
from stream_app.polling.poll_batch import PollBatch
from stream_app.wire.message_columns import MessageColumns
from tests.app.polls import message, spec

AT = StreamPartition("tides", 0)


def owned(*, next_offset: int = 0, emit_from: int = 0, journaled: Journaled | None = None) -> Owned:
    state = cast(Any, SimpleNamespace(next_offset=next_offset, model_version=None))
    return Owned(AT, spec(), state, cast(Any, None), next_offset, emit_from, journaled or Journaled())


def poll_batch(first: int, end: int) -> PollBatch:
    messages = [message({"value": 1}, offset=offset) for offset in range(first, end)]
    return PollBatch({"tides": MessageColumns.of(messages)}, {AT: end})


def offsets(stretch: Any) -> list[int]:
    return [each.offset() for each in stretch.messages.get("tides", [])]


def test_a_poll_batch_is_cut_before_the_reading_that_a_decision_precedes() -> None:
    one = owned(journaled=Journaled.after([Decision(1, 3, "idle_close"), Decision(2, 5, "model")], 0, 0))
    seen = []
    for stretch in stretches(poll_batch(0, 8), {AT: one}):
        one.state.next_offset = stretch.next_offsets[AT]
        seen.append((offsets(stretch), [decision.kind for decision in one.journaled.due(one.state.next_offset)]))
    assert seen == [([0, 1, 2], ["idle_close"]), ([3, 4], ["model"]), ([5, 6, 7], [])]


def test_messages_of_partitions_that_went_are_dropped() -> None:
    (stretch,) = stretches(poll_batch(0, 8), {})
    assert offsets(stretch) == []
    assert stretch.next_offsets == {}


def test_decisions_that_the_state_contains_are_not_taken_again_but_numbers_go_on() -> None:
    journaled = Journaled.after([Decision(1, 3, "idle_close"), Decision(2, 5, "idle_close")], 1, 4)
    assert [each.number for each in journaled.pending] == [2]
    assert journaled.decide(9, "idle_close").number == 3


def test_a_state_contains_no_decision_that_its_replay_has_still_to_come_to() -> None:
    decisions = [Decision(1, 3, "idle_close"), Decision(2, 4, "clock", {"rejected": []}), Decision(3, 5, "model")]
    journaled = Journaled.after(decisions, 0, 0)
    seen = [journaled.contained]
    for offset in (3, 4, 5):
        journaled.due(offset)
        seen.append(journaled.contained)
    assert seen == [0, 2, 2, 3]
    for contained in seen:
        left = [each.number for each in Journaled.after(decisions, contained, 0).pending]
        assert left == [number for number in (1, 3) if number > contained]


def test_a_partition_is_live_only_when_all_was_published_and_every_decision_taken() -> None:
    assert not owned(next_offset=4, emit_from=5).is_live
    assert owned(next_offset=5, emit_from=5).is_live
    assert not owned(next_offset=5, journaled=Journaled.after([Decision(1, 6, "model")], 0, 5)).is_live


@pytest.mark.parametrize("next_offset", [3, 5, 8])
def test_what_is_committed_again_takes_nothing_back(next_offset: int) -> None:
    """In a replay, too: between the state and what is committed lies what was published."""
    one = owned(next_offset=next_offset, emit_from=5)
    one.take_uncommitted()
    assert one.take_uncommitted() is None
    one.commit_again()
    assert one.take_uncommitted() == max(next_offset, 5)


def test_verdicts_of_the_clock_count_until_replay_is_over() -> None:
    journaled = Journaled.after([Decision(1, 4, "clock", {"rejected": [[3, 0]]})], 1, 0)
    verdicts = clock_verdicts([owned(next_offset=0, emit_from=10, journaled=journaled)])
    assert verdicts[0].until_offset == 10
    assert verdicts[0].rejected == {(3, 0)}
    assert clock_verdicts([owned(next_offset=10, emit_from=10, journaled=journaled)]) == {}


def test_verdicts_on_what_the_state_has_seen_are_forgotten() -> None:
    """A journal has all of them that ever were, and each poll batch would look through them."""
    clock = Decision(1, 4, "clock", {"rejected": [[3, 0], [7, 0]]})
    failed = [model_failed(2, 3, 6), model_failed(3, 6, 9)]
    journaled = Journaled.after([clock, *failed], contained=3, next_offset=6)
    assert journaled.clock == {(7, 0)}
    assert journaled.failed == [ModelFailed(6, 9)]
    journaled.forget(8)
    assert (journaled.clock, journaled.failed) == (set(), [ModelFailed(6, 9)])
    journaled.forget(9)
    assert journaled.failed == []


def test_a_replay_does_not_look_through_the_verdicts_that_are_still_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fails for a day leaves one for each poll batch of that day."""
    looked_at = []
    rows = ModelFailed.rows

    def counted(self: ModelFailed, *arguments: Any) -> Any:
        looked_at.append(self)
        return rows(self, *arguments)

    monkeypatch.setattr(ModelFailed, "rows", counted)
    numbers = np.random.default_rng(1).permutation(1000)  # a journal of several owners may be read in any order
    journaled = Journaled.after(
        [model_failed(1 + number, 10 * number, 10 * number + 5) for number in numbers.tolist()], 1000, next_offset=0
    )
    for number in range(1000):
        offsets = np.arange(10 * number, 10 * number + 10)
        assert journaled.has_failed(offsets).tolist() == [True] * 5 + [False] * 5
        journaled.forget(10 * number + 10)
    assert len(looked_at) == 1000
    assert journaled.failed == []


def model_failed(number: int, first: int, end: int) -> Decision:
    return Decision(number, first, "model_failed", {"from_offset": first, "to_offset": end})


def test_a_decision_survives_its_way_through_the_journal() -> None:
    decision = Decision(7, 9, "model", {"name": "ridge", "version": "v1"})
    assert Decision.from_record({"next_offset": 9, "decision": decision.body()}) == decision


class Broker:
    """The consumer's `commit`, with answers given by hand."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], bool]] = []
        self.error: KafkaException | None = None

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> None:
        self.asked.append(([each.offset for each in offsets], asynchronous))
        if self.error is not None:
            raise self.error


def committing(commits: OffsetCommits, asked: dict[StreamPartition, tuple[Owned, int]], timeout_s: float) -> Any:
    answer: dict[str, Any] = {}

    def ask() -> None:
        try:
            request = CommitRequest(asked, timeout_s)
            commits.ask_commit(request)
            answer["committed"] = request.wait()
        except CommitFailed as error:
            answer["error"] = error

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, answer


def serve_until(commits: OffsetCommits, broker: Broker, ours: dict[StreamPartition, Owned], thread: Any) -> None:
    while thread.is_alive():
        commits.serve(cast(Any, broker), ours, {"tides": "in"}, wait=False)
        for asked, _ in broker.asked:
            commits.on_commit(None, [TopicPartition("in", 0, offset) for offset in asked])
        thread.join(0.01)


def test_a_commit_goes_through_the_poll_thread() -> None:
    commits, broker, mine = OffsetCommits(), Broker(), owned()
    thread, answer = committing(commits, {AT: (mine, 5)}, 5)
    serve_until(commits, broker, {AT: mine}, thread)
    assert answer == {"committed": {AT}}
    assert broker.asked == [([5], True)]


def test_a_commit_for_a_partition_that_was_assigned_anew_is_left_out() -> None:
    commits, broker, before, now = OffsetCommits(), Broker(), owned(), owned()
    thread, answer = committing(commits, {AT: (before, 5)}, 5)
    serve_until(commits, broker, {AT: now}, thread)
    assert answer == {"committed": frozenset()}
    assert broker.asked == []


def test_an_answer_to_a_commit_that_was_given_up_says_nothing_of_the_next() -> None:
    commits, broker, mine = OffsetCommits(), Broker(), owned()
    thread, answer = committing(commits, {AT: (mine, 5)}, 0.2)
    while thread.is_alive():
        commits.serve(cast(Any, broker), {AT: mine}, {"tides": "in"}, wait=False)
        commits.on_commit(None, [TopicPartition("in", 0, 4)])
        thread.join(0.01)
    assert isinstance(answer["error"], CommitFailed)


def test_a_refusal_during_a_rebalance_is_asked_again_until_the_deadline() -> None:
    commits, broker, mine = OffsetCommits(), Broker(), owned()
    broker.error = KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    thread, answer = committing(commits, {AT: (mine, 5)}, 0.2)
    while thread.is_alive():
        commits.serve(cast(Any, broker), {AT: mine}, {"tides": "in"}, wait=False)
        thread.join(0.01)
    assert len(broker.asked) > 1
    assert "rebalanc" in str(answer["error"]).lower()


def test_silence_is_reported_once_and_only_at_the_end() -> None:
    idleness = Idleness({"tides": spec(idle_timeout="10s")})
    assert idleness.note({AT: 5}, {}, 0.0) == {AT: 5}
    assert idleness.idle(lambda *_: True, 100.0) == frozenset(), "its end has not been reached"
    idleness.note({AT: 5}, {AT: 5}, 100.0)
    assert idleness.idle(lambda *_: False, 111.0) == frozenset(), "the broker has more, or is away"
    assert idleness.idle(lambda *_: True, 113.0) == {AT}
    assert idleness.idle(lambda *_: True, 200.0) == frozenset()


def test_the_silence_of_a_partition_that_was_taken_at_its_end_is_reported() -> None:
    """Nothing is read of it, before the end is reached as well."""
    idleness = Idleness({"tides": spec(idle_timeout="10s")})
    idleness.note({}, {AT: 5}, 0.0)
    assert idleness.idle(lambda at, end: (at, end) == (AT, 5), 11.0) == {AT}


def test_origins_before_emit_from_are_not_published_but_deletions_are() -> None:
    ticks, nothing = np.array([7, 8, 9]), np.zeros(3)
    forecasts = Forecasts(["a", "b", "c"], ticks, *[nothing] * 6, offsets=ticks)
    scored = Scored(["a", "b", "c"], ticks, *[nothing] * 8, offsets=ticks)
    summaries = Summaries(["a", "b", "c"], ticks, *[nothing] * 5, offsets=ticks)
    drift = [DriftRecord("a", None, "cusum", 9.0, 8.0, "drift", tick, tick, tick) for tick in ticks.tolist()]
    kept = since(Outcome(forecasts, scored, summaries, drift, deleted=((1, "gone"),)), 8)
    assert kept.forecasts.series_ids == ["b", "c"]
    assert kept.scored is not None
    assert kept.scored.origins.tolist() == [8, 9]
    assert kept.summaries is not None
    assert kept.summaries.ticks.tolist() == [8, 9]
    assert [record.tick for record in kept.drift] == [8, 9]
    assert kept.deleted == ((1, "gone"),)
