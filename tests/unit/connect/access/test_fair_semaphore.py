"""A fair semaphore: its bounds, and the wait beside owners with many requests."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access.fair_semaphore import WAITING_MAX, FairSemaphore
from streams.connect.access.refusals import Overloaded

LONG_S = 60.0


class Work:
    """Runs until the test ends it, and records the order of runs."""

    def __init__(self, turns: FairSemaphore) -> None:
        self.turns = turns
        self.running: list[tuple[str, asyncio.Event]] = []
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def _run(self, owner: str) -> None:
        async with self.turns.taken(owner):
            ends = asyncio.Event()
            self.running.append((owner, ends))
            self.order.append(owner)
            await ends.wait()

    async def asks(self, owner: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(owner))
        self.tasks.append(task)
        await _settle()
        return task

    async def ends(self, which: int = 0) -> None:
        self.running.pop(which)[1].set()
        await _settle()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_a_single_request_waits_for_one_turn_of_the_others():
    """Eight requests of one tenant must not delay another tenant's page for 24 s."""
    work = Work(FairSemaphore("x", places=2, owner_max=2, wait_s=LONG_S))
    for _ in range(20):
        await work.asks("greedy")
    await work.asks("modest")
    assert work.order == ["greedy"] * 2
    await work.ends()
    await work.ends()
    assert "modest" in work.order[:4]
    await work.close()


async def test_an_owner_leaves_places_to_others():
    """This holds also while no other owner waits."""
    work = Work(FairSemaphore("x", places=3, owner_max=2, wait_s=LONG_S))
    for _ in range(5):
        await work.asks("greedy")
    assert work.order == ["greedy"] * 2
    await work.asks("modest")
    assert work.order[-1] == "modest"
    await work.close()


async def test_a_wait_beyond_its_limit_ends_and_frees_its_place():
    """The request gets 429 and leaves no entry behind."""
    turns = FairSemaphore("x", places=1, owner_max=1, wait_s=0.01)
    work = Work(turns)
    await work.asks("a")
    with pytest.raises(Overloaded, match="too many x now") as refused:
        async with turns.taken("b"):
            raise AssertionError("there is no place")
    assert refused.value.retry_after_s
    await work.ends()
    async with turns.taken("b"):
        pass
    assert (turns._running, turns._waiting) == ({}, {})
    await work.close()


async def test_waiting_requests_of_one_owner_are_bounded():
    """Each waiting request takes a connection and memory."""
    work = Work(FairSemaphore("x", places=1, owner_max=1, wait_s=LONG_S))
    for _ in range(1 + WAITING_MAX):
        await work.asks("greedy")
    refused = await work.asks("greedy")
    assert isinstance(refused.exception(), Overloaded)
    assert not (await work.asks("modest")).done()
    await work.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "end", "cancel"]), st.sampled_from("abc"), st.integers(0, 9)
        ),
        max_size=60,
    ),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_places_are_neither_lost_nor_given_twice(steps, places, owner_max):
    """Law: no more run than there are places, no owner exceeds its bound, a place is free only if
    no allowed request waits, and at the end all places are free.
    """

    async def run() -> None:
        turns = FairSemaphore("x", places=places, owner_max=owner_max, wait_s=LONG_S)
        work = Work(turns)
        for what, owner, which in steps:
            if what == "ask":
                await work.asks(owner)
            elif what == "end" and work.running:
                await work.ends(which % len(work.running))
            elif what == "cancel" and work.tasks:
                work.tasks[which % len(work.tasks)].cancel()
                await _settle()
            running = turns._running
            assert running.total() <= places
            assert all(count <= owner_max for count in running.values())
            if running.total() < places:
                assert all(running[waiting] == owner_max for waiting in turns._waiting)
        with ExitStack(), suppress(asyncio.CancelledError):
            await work.close()
        assert (turns._running, turns._waiting) == ({}, {})

    asyncio.run(run())
