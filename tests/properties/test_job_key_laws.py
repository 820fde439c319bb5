"""For each key, one run is authoritative within its TTL, in any order of completions and give-ups."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.errors import ProcessDied
from streams.engine.agents.queue_policy import QueuePolicy
from tests.depth import cases
from tests.unit.engine.runtime.job_desk import SETTINGS, Desk, Hand

TTL_S = SETTINGS.dedupe_ttl_s
GAPS_S = st.sampled_from([0, TTL_S // 3, TTL_S // 2, TTL_S - 1, TTL_S + 1])
ENDS = st.sampled_from(["finish", "finish", "give up", "crash"])


class OneAttempt(Hand):
    """An attempt that fails once is given up."""

    def queue(self, name):
        return QueuePolicy(attempts=1)


@settings(max_examples=cases(150), deadline=None)
@given(
    st.lists(GAPS_S, min_size=1, max_size=8),
    st.lists(st.tuples(ENDS, st.integers(0, 7)), max_size=20),
)
def test_every_request_is_decided_by_the_last_first_request_before_it(gaps_s, ends):
    """A given-up request does not count as first. The rest follows from append times: neither the
    order of completions nor restarts matter."""
    asyncio.run(_law(gaps_s, ends))


async def _law(gaps_s, ends):
    desk = Desk(replace(SETTINGS, max_ahead=20))
    desk.hand = OneAttempt()
    await desk.create_topics()
    await desk.open()
    appended_s, now_s = {}, 0
    for gap_s in gaps_s:
        now_s += gap_s
        await desk.clock.advance(gap_s)
        appended_s[await desk.ask("k")] = now_s
    await desk.read()
    for end, which in ends:
        await _one_end(desk, end, which)
    while running := _running(desk):
        await desk.finish(*running)
    await desk.commit()
    results, given_up = desk.results(), _given_up(desk)
    assert results.keys() == appended_s.keys()
    first, applied = None, []
    for request, at_s in appended_s.items():
        fresh = first is None or at_s - appended_s[first] > TTL_S
        if fresh and request in given_up:
            continue
        if fresh:
            first = request
            applied.append(request)
        assert request not in given_up
        assert results[request]["summary"] == results[first]["summary"]
    assert len({results[request]["summary"]["run"] for request in applied}) == len(applied)
    assert len(desk.dead()) == len(given_up)
    assert desk.committed() == len(gaps_s)
    await desk.close()


def _running(desk):
    return [work.event.request_id for work in desk.dispatcher._running.values()]


def _given_up(desk):
    return {name for name, found in desk.results().items() if found["status"] == "failed"}


async def _one_end(desk, end, which):
    if end == "crash":
        await desk.crash()
        await desk.read()
    elif running := _running(desk):
        request = running[which % len(running)]
        if end == "give up":
            desk.hand.failing[request] = [ProcessDied("as told")]
        await desk.finish(request)
        if which % 2:
            await desk.commit()
