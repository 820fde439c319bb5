"""Calls that share one piece of work: errors without a caller, and the end."""

from __future__ import annotations

import asyncio
import gc

from streams.connect.cache.single_flight import SingleFlight


async def test_callers_of_one_name_share_the_first_result():
    """A cold cache asks its source once, not once per request."""
    flights, called = SingleFlight(), []

    async def work():
        called.append(1)
        await asyncio.sleep(0)
        return len(called)

    assert await asyncio.gather(*(flights.run("name", work) for _ in range(3))) == [1, 1, 1]
    assert await flights.run("name", work) == 2


async def test_an_error_whose_callers_are_gone_is_not_reported_as_lost():
    """asyncio would log a traceback for each client that disconnects during an outage."""
    flights, began, reported = SingleFlight(), asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def work():
        began.set()
        await asyncio.sleep(0)
        raise ConnectionError("the source is away")

    caller = asyncio.create_task(flights.run("name", work))
    await began.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []


async def test_a_close_waits_for_the_end_of_the_work():
    """What the work uses is closed next."""
    flights, began, ended = SingleFlight(), asyncio.Event(), []

    async def work():
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("ended")

    caller = asyncio.create_task(flights.run("name", work))
    await began.wait()
    await flights.close()
    assert ended == ["ended"]
    await asyncio.gather(caller, return_exceptions=True)
