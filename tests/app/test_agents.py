"""The agent between the poll thread and the pipeline's thread, at the end of a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

from stream_app.agents import add_agents
from stream_app.polling.poll_batch import PollBatch


class Edge:
    """The agent's function, fed by hand, and what it told of."""

    def __init__(self, pipeline: Any, pipeline_thread: ThreadPoolExecutor) -> None:
        self.handled: list[PollBatch] = []
        self.failures: list[BaseException] = []
        self._agent: Any = None

        def agent(channel: object, name: str) -> Any:
            return lambda function: setattr(self, "_agent", function)

        async def crash(error: BaseException) -> None: ...

        app: Any = SimpleNamespace(agent=agent, crash=crash)
        add_agents(
            app,
            channel=None,
            pipeline=pipeline,
            pipeline_thread=pipeline_thread,
            handled=self.handled.append,
            failed=self.failures.append,
        )

    async def feed(self, count: int) -> None:
        async def poll_batches() -> AsyncIterator[PollBatch]:
            for _ in range(count):
                yield PollBatch()

        await self._agent(poll_batches())


async def test_poll_batches_that_are_left_when_a_worker_has_stopped_are_no_failure() -> None:
    """A stop in the midst of a rewind leaves some: it exited with 1."""
    thread = ThreadPoolExecutor(1)
    edge = Edge(SimpleNamespace(is_over=True, process=None), thread)
    thread.shutdown()
    await edge.feed(2)
    assert edge.failures == []
    assert len(edge.handled) == 2


async def test_a_poll_batch_that_fails_is_told_of_and_its_credit_given_back() -> None:
    def process(poll_batch: PollBatch) -> None:
        raise ArithmeticError("broken on purpose")

    with ThreadPoolExecutor(1) as thread:
        edge = Edge(SimpleNamespace(is_over=False, process=process), thread)
        await edge.feed(1)
    assert [str(failure) for failure in edge.failures] == ["broken on purpose"]
    assert len(edge.handled) == 1
