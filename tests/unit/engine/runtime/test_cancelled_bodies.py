"""Agent bodies that are cancelled by a shed order or by the loss of their partition."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from structlog.testing import capture_logs

from streams.core.clock import settle
from streams.engine.streams.declared_table import DeclaredTable
from tests.unit.engine.runtime.stream_desk import SOURCE, shed_before


@pytest.fixture
def totals():
    return DeclaredTable("totals", default=float, keys="any")


async def wait_ignoring_cancellation(release):
    """Waits and ignores every cancellation."""
    while not release.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await release.wait()


@pytest.mark.parametrize("timeout_s", [300.0, 8.0])
async def test_a_body_that_ignores_a_shed_is_abandoned(desk, totals, timeout_s):
    """The partition waits for the end of the body with a deadline, and the log names the cause."""
    release = asyncio.Event()

    async def body(stream):
        async for event in stream.events():
            totals["t"] += 1
            if event.message.offset < 3:
                await wait_ignoring_cancellation(release)
                totals["t"] += 100

    await desk.open(body, totals, agent_timeout_s=timeout_s)
    await desk.rig.produce_events(5)
    await desk.fold()
    with capture_logs() as logs:
        desk.partition.shed(shed_before(desk, 3))
        await settle()
        await desk.rig.clock.advance(15)
        release.set()
        await settle()
    await desk.commit()
    counters = desk.partition.progress.counters()
    assert (counters.read, counters.applied, counters.shed) == (5, 2, 3)
    assert (desk.table(totals)["t"], desk.letters()) == (2, [])
    [said] = [one for one in logs if one["event"] == "agent_ignores_cancellation"]
    assert (said["agent"], said["tp"]) == ("stream", str(SOURCE))


async def test_the_next_owner_does_not_wait_for_the_old_body(desk, totals):
    """The old body's writes do not reach the new owner."""
    release = asyncio.Event()
    bodies = []

    async def body(stream):
        bodies.append(stream)
        async for _event in stream:
            totals["t"] += 1
            if stream is bodies[0]:
                await wait_ignoring_cancellation(release)
                totals["t"] += 100

    await desk.open(body, totals)
    await desk.rig.produce_events(2)
    await desk.fold()
    await desk.reopen(body, totals)
    await desk.fold()
    release.set()
    await settle()
    await desk.commit()
    assert (desk.table(totals)["t"], desk.partition.failure) == (2, None)


async def test_a_shed_between_two_attempts_interrupts_no_later_event(desk, totals):
    """The first error after the shed range belongs to a later event, which runs once."""
    runs = []

    async def body(stream):
        async for event in stream.events():
            runs.append(event.message.offset)
            if event.message.offset == 1:
                raise ConnectionError
            if event.message.offset == 4:
                raise ValueError("a bug")

    await desk.open(body, totals)
    await desk.rig.produce_events(6)
    await desk.fold()
    desk.partition.shed(shed_before(desk, 3))
    await desk.rig.clock.advance(10)
    assert runs == [0, 1, 3, 4, 5]


async def test_an_event_that_fails_as_it_is_shed_is_no_failure(desk, totals):
    """The error coincides with the order: no event is in progress, so it fails none."""
    go_on = asyncio.Event()

    async def body(stream):
        async for event in stream.events():
            totals["t"] += 1
            if event.message.offset == 1:
                await go_on.wait()
                raise ValueError("a bug")

    await desk.open(body, totals)
    await desk.rig.produce_events(5)
    await desk.fold()
    failing = next(task for task in asyncio.all_tasks() if task.get_name() == "agent-body")
    go_on.set()
    failing.add_done_callback(lambda _: desk.partition.shed(shed_before(desk, 3)))
    await settle()
    await desk.commit()
    counters = desk.partition.progress.counters()
    assert (desk.partition.failure, desk.letters()) == (None, [])
    assert (counters.applied, counters.shed) == (3, 2)
