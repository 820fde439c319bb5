"""Stops an aiokafka client by a deadline: its ``stop`` flushes and may wait for ever without a
broker."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from streams.core.resilience.unread_error import read_error

CLOSE_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)


def tasks_of(*owners: Any) -> set[asyncio.Task[Any]]:
    """Running tasks whose coroutine is a method of one of ``owners``: the client keeps no list of
    requests in flight."""
    identities = {id(owner) for owner in owners if owner is not None}
    found = set()
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and id(frame.f_locals.get("self")) in identities:
            found.add(task)
    return found


async def end_client(client: Any, *owners: Any) -> None:
    """Cancel the tasks of ``owners``, then close the connections of ``client``. Raises nothing but
    a cancellation of the caller.

    The client's ``close`` takes that for the end of its own task and goes on: the caller would not
    end, and who cancelled it would wait for ever.
    """
    caller = asyncio.current_task()
    cancellations = caller.cancelling() if caller is not None else 0
    tasks = tasks_of(*owners)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close()
    except Exception as error:  # noqa: BLE001  # nothing is left to save on this connection
        log.warning("kafka_client_close_failed", error=repr(error))
    leftover = {task for task in tasks | tasks_of(*owners, client) if not task.done()}
    for task in leftover:
        task.cancel()
    if leftover:
        await asyncio.wait(leftover, timeout=CLOSE_TIMEOUT_S)
    for task in tasks:
        read_error(task)
    if caller is not None and caller.cancelling() > cancellations:
        raise asyncio.CancelledError
