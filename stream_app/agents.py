"""The Faust edge: the agent that receives every poll batch.

A poll batch arrives here from the poll thread (polling/consumer.py) and is processed by pipeline/pipeline.py, on a
thread of its own, so that the event loop stays free for health checks and signals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import faust

if TYPE_CHECKING:
    from stream_app.pipeline.pipeline import Pipeline
    from stream_app.polling.poll_batch import PollBatch


def add_agents(
    app: faust.App,
    *,
    channel: Any,
    pipeline: Pipeline,
    pipeline_thread: ThreadPoolExecutor,
    handled: Callable[[PollBatch], None],
    failed: Callable[[BaseException], None],
) -> None:
    """`channel` brings PollBatch values; `handled` is called after each, so that the poll thread may send another.

    `failed` is told of an error before the worker ends: nothing that is in memory may be saved after it.
    """

    @app.agent(channel, name="readings")
    async def forecast_readings(poll_batches: faust.StreamT[PollBatch]) -> None:
        loop = asyncio.get_running_loop()
        async for poll_batch in poll_batches:
            if pipeline.is_over:
                handled(poll_batch)
                continue
            try:
                await loop.run_in_executor(pipeline_thread, pipeline.process, poll_batch)
            except Exception as error:  # noqa: BLE001 - Faust would swallow it and drop the poll batch
                failed(error)
                await app.crash(error)
            finally:
                handled(poll_batch)
