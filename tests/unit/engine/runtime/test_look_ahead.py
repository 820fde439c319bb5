"""Reading far ahead of the prefix: most requests are in memory by index only, and none is lost."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.connect.broker.memory.reader import MemoryReader
from streams.core.clock import settle
from streams.core.errors import BrokerUnavailable, PartitionRestart
from streams.core.settings import Settings
from streams.engine.agents.job_agent import Ask
from streams.engine.runtime.jobs.requests import INDEX_BYTES, Request, RunningRequests
from tests.unit.engine.runtime.job_desk import SOURCE, Desk

AHEAD = Settings(max_ahead=150_000, changelog_slack_bytes=500)
SMALL = replace(AHEAD, max_ahead_bytes=8000)
"""Room for two or three whole requests."""


@pytest.fixture
async def opened():
    desks = []

    async def open_(config):
        desk = Desk(config)
        desks.append(desk)
        await desk.create_topics()
        await desk.open()
        return desk

    yield open_
    for desk in desks:
        await desk.close()


async def backlog(desk, count, tenant="heavy", **fields):
    """Append many requests of low priority at once."""
    request = {
        "model_id": "m", "scenario": "s", "priority": 1, "trials": 1, "parameters": {},
        "tenant_id": tenant, "ts": desk.clock.now_ms(), **fields,
    }  # fmt: skip
    names = [f"{tenant}{number}" for number in range(count)]
    values = [
        json.dumps({**request, "request_id": name, "idempotency_key": name}).encode()
        for name in names
    ]
    producer = desk.broker.plain_producer()
    await (await producer.send_many(SOURCE.topic, [tenant.encode()] * count, values))
    return names


async def finish_all(desk):
    """Finish all work that starts from this point on."""
    for _ in range(300):
        for gate in desk.hand.waiting.values():
            gate.set()
        await settle()
        if not desk.partition.has_changes():
            return
        await desk.commit()


@pytest.mark.parametrize("config", [AHEAD, SMALL], ids=["whole", "index only"])
async def test_urgent_requests_start_before_a_long_backlog(opened, config):
    """High priority, a light tenant and a cancellation all start before the backlog."""
    desk = await opened(config)
    desk.hand.slots = 2
    names = await backlog(desk, 20_000)
    high = await desk.ask("high", priority=9, tenant_id="heavy")
    light = await desk.ask("light", tenant_id="light")
    cancel = await desk.ask(
        "c", scenario="cancel", parameters={"idempotency_key": names[19_999]}, tenant_id="heavy"
    )
    await desk.read()
    for _ in range(100):
        await settle()
    assert desk.partition.position == 20_003
    await desk.commit()
    assert desk.results()[cancel]["summary"] == {"cancelled": True}
    assert desk.results()[names[19_999]]["status"] == "cancelled"
    before = list(desk.hand.started)
    assert len(before) == 2
    for _ in range(3):
        await desk.finish(*(set(desk.hand.started) - set(desk.results())))
        await desk.commit()
    assert {high, light} <= set(desk.hand.started[:6])


async def test_the_index_of_a_request_takes_the_documented_bytes(opened):
    """A bound in requests bounds bytes only if the bytes per request are measured."""
    desk = await opened(SMALL)
    desk.hand.slots = 1
    await backlog(desk, 5000, parameters={"of": "x" * 500})
    reader = await desk.broker.reader()
    batch = await reader.read(SOURCE, 0, 1 << 20)
    gc.collect()
    tracemalloc.start()
    desk.partition.fold(batch)
    batch.values.clear()
    batch.headers.clear()
    await settle()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert desk.partition._held.bytes_used <= SMALL.max_ahead_bytes
    assert used / 5000 <= INDEX_BYTES


@pytest.mark.parametrize("config", [AHEAD, SMALL], ids=["whole", "index only"])
async def test_every_request_of_a_backlog_is_answered_once(opened, config):
    """Including repeats and cancelled requests of which only the index was in memory."""
    desk = await opened(config)
    desk.hand.slots = 3
    names = await backlog(desk, 200)
    again = [await desk.ask(name, tenant_id="heavy") for name in names[50:80]]
    for name in names[60:70]:
        await desk.ask(
            f"c{name}",
            tenant_id="heavy",
            scenario="cancel",
            parameters={"idempotency_key": name},
        )
    await desk.read()
    await finish_all(desk)
    results = desk.results()
    assert len(results) == 240
    assert Counter(found["status"] for found in results.values()) == {
        "completed": 220,
        "cancelled": 20,
    }
    for name, repeat in zip(names[50:80], again, strict=True):
        ours, theirs = results[name], results[repeat]
        assert {**ours, "request_id": ""} == {**theirs, "request_id": ""}
    assert desk.committed() == 240
    assert desk.partition._held.bytes_used == 0
    assert desk.partition._held.indexed == 0


async def test_a_cancelled_request_and_its_canceller_are_answered_in_one_commit(opened):
    """Even if the cancelled request has to be read again first. After a crash in between it would
    run, although its canceller got the answer `cancelled`.
    """
    desk = await opened(SMALL)
    desk.hand.slots = 1
    names = await backlog(desk, 30)
    cancel = await desk.ask(
        "c", tenant_id="heavy", scenario="cancel", parameters={"idempotency_key": names[25]}
    )
    reader = await desk.broker.reader()
    desk.partition.fold(await reader.read(SOURCE, 0, 1 << 20))
    assert not desk.partition.finished
    await settle()
    await desk.commit()
    assert {cancel, names[25]} <= set(desk.results())


@pytest.mark.parametrize("patience_s", [0.0, 100.0], ids=["refused", "unanswered"])
async def test_a_request_waits_for_its_log_without_spending_an_attempt(
    opened, monkeypatch, patience_s
):
    """A request in the index cannot even be refused without its record. A repeat gets the outcome
    of its first request, however long the log is away.
    """
    desk = await opened(SMALL)
    desk.hand.slots = 1
    names = await backlog(desk, 20)
    repeat = await desk.ask(names[0], tenant_id="heavy")
    batch = await (await desk.broker.reader()).read(SOURCE, 0)
    real, down = MemoryReader.read, True

    async def read(*args):
        if down:
            await desk.clock.sleep(patience_s)
            raise BrokerUnavailable("away")
        return await real(*args)

    monkeypatch.setattr(MemoryReader, "read", read)
    desk.partition.fold(batch)
    looking = asyncio.ensure_future(desk.dispatcher.run())
    await settle()
    await finish_all(desk)
    assert 0 < len(desk.results()) < 20
    await desk.clock.advance(300.0)
    await finish_all(desk)
    assert len(desk.results()) < 20
    down = False
    await desk.clock.advance(patience_s)
    for _ in range(50):
        await desk.clock.advance(1.0)
        await finish_all(desk)
    looking.cancel()
    assert set(desk.results()) == {*names, repeat}
    assert {found["status"] for found in desk.results().values()} == {"completed"}
    assert desk.dead() == []


async def test_requests_that_lie_together_are_read_again_together(opened, monkeypatch):
    """Otherwise each request would fetch and decode the same batch, while urgent work waits for the
    event loop.
    """
    desk = await opened(replace(AHEAD, max_ahead_bytes=40_000))
    desk.hand.slots = 4
    for number in range(64):
        await backlog(desk, 1, f"tenant{number}")
    batch = await (await desk.broker.reader()).read(SOURCE, 0)
    real, reads = MemoryReader.read, []

    async def read(reader, tp, offset, *rest):
        reads.append(offset)
        return await real(reader, tp, offset, *rest)

    monkeypatch.setattr(MemoryReader, "read", read)
    desk.partition.fold(batch)
    assert desk.partition._held.indexed > 20
    await settle(200)
    await finish_all(desk)
    assert desk.committed() == 64
    assert len(reads) < 5


async def test_a_request_that_cannot_be_opened_again_is_no_failed_request(opened):
    """A damaged disk is no fault of the client: the partition reopens and stops at the batch."""
    desk = await opened(SMALL)
    desk.hand.slots = 1
    await backlog(desk, 20)
    await desk.read()
    desk.broker.log(SOURCE).spoil(10, 11)
    await finish_all(desk)
    assert isinstance(desk.partition.failure, PartitionRestart)
    assert desk.committed() == 10
    assert {found["status"] for found in desk.results().values()} == {"completed"}


async def test_another_record_in_the_place_of_a_request_is_not_run_for_it(opened):
    """The log lost its end and grew again. Under the old key, the result of the new request would
    be stored for another request.
    """
    desk = await opened(SMALL)
    desk.hand.slots = 1
    await backlog(desk, 20)
    await desk.read()
    desk.broker.log(SOURCE).lose_end(10)
    await desk.clock.advance(1.0)
    others = await backlog(desk, 20, tenant="other")
    await finish_all(desk)
    assert isinstance(desk.partition.failure, PartitionRestart)
    assert not set(others) & set(desk.hand.started)
    assert not set(others) & set(desk.results())


async def test_waiting_requests_of_a_tenant_are_bounded_and_the_rest_is_answered(opened):
    """Otherwise one tenant's requests fill the read-ahead and delay all others. Each refused
    request is a dead letter with an answer to its client.
    """
    desk = await opened(replace(AHEAD, max_waiting=40))
    names = await backlog(desk, 30)
    light = await desk.ask("light", tenant_id="light")
    await desk.read()
    assert desk.partition.position == 31
    await desk.finish(light)
    await desk.commit()
    results = desk.results()
    assert results[light]["status"] == "completed"
    refused = [name for name in names if name in results]
    assert refused == names[20:]
    assert {results[name]["error"]["code"] for name in refused} == {"over_quota"}
    assert [found["dia.dlq.error_code"] for found in desk.letters()] == [b"over_quota"] * 10
    # The tenant has room again, also for the same key: a refused request is not remembered.
    await desk.finish(*names[:20])
    again = await desk.ask(names[25], tenant_id="heavy")
    await desk.read()
    await desk.finish(again)
    await desk.commit()
    assert desk.results()[again]["status"] == "completed"
    counters = desk.partition.state.link.counters
    assert (counters.read, counters.applied, counters.dead) == (32, 22, 10)


async def test_waiting_repeats_count_against_the_bound_and_cancellations_do_not(opened):
    """A thousand repeats of one key take as much memory as other requests; a cancellation ends
    work, so it is not bounded.
    """
    desk = await opened(replace(AHEAD, max_waiting=8))
    asked = [await desk.ask("k") for _ in range(6)]
    cancel = await desk.ask("c", scenario="cancel", parameters={"idempotency_key": "k"})
    await desk.read()
    await desk.commit()
    results = desk.results()
    assert results[cancel]["status"] == "completed"
    assert {results[name]["status"] for name in asked[:4]} == {"cancelled"}
    assert {results[name]["error"]["code"] for name in asked[4:]} == {"over_quota"}


async def test_waiting_requests_are_counted_anew_after_a_crash(opened):
    """A count that survives its requests would refuse the tenant's requests without end."""
    desk = await opened(replace(AHEAD, max_waiting=8))
    await backlog(desk, 4)
    await desk.read()
    await desk.crash()
    await desk.read()
    assert desk.results() == {}
    await finish_all(desk)
    assert {found["status"] for found in desk.results().values()} == {"completed"}


async def test_outcomes_beyond_a_tenants_share_are_given_up_and_others_go_on(opened):
    """Summaries of one tenant (35,000 of 27 kB) must not stop the simulations of a partition."""
    desk = await opened(replace(AHEAD, max_outcome_bytes=4000))
    names = await backlog(desk, 12)
    others = await backlog(desk, 2, tenant="other")
    await desk.read()
    await finish_all(desk)
    results = desk.results()
    statuses = [results[name]["status"] for name in names]
    done = statuses.count("completed")
    assert 2 <= done < 12
    assert statuses == ["completed"] * done + ["failed"] * (12 - done)
    assert {results[name]["error"]["code"] for name in names[done:]} == {"over_quota"}
    assert [results[name]["status"] for name in others] == ["completed"] * 2
    assert desk.partition.outcomes.bytes_used < 4000
    assert desk.partition.failure is None
    assert desk.committed() == 14
    late = await desk.ask("late", tenant_id="heavy")
    await desk.read()
    await finish_all(desk)
    assert desk.results()[late]["error"]["code"] == "over_quota"


OFFSETS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 20)), unique_by=lambda pair: pair[1]
)


def _request(key, offset):
    return Request(None, None, Ask("t", key, b"", 1, "s"), offset=offset)


@settings(max_examples=50)
@given(OFFSETS, st.randoms(use_true_random=False))
def test_running_requests_of_a_key_are_known_newest_first(asked, rng):
    """A repeat is judged by the newest running request; one that runs in place of another is older
    than it.
    """
    running, model = RunningRequests(), {}
    for key, offset in asked:
        request = _request(key, offset)
        running.add(request)
        model[offset] = request
    while True:
        for key in "ab":
            of_key = [r for r in model.values() if r.ask.key == key]
            ordered = sorted(of_key, key=lambda r: -r.offset)
            assert list(running.of(("t", key))) == ordered
            for offset in (0, 10, 30):
                probe = _request(key, offset)
                older = [r for r in ordered if r.offset < offset]
                assert running.before(probe) is (older[0] if older else None)
        if not model:
            break
        running.remove(model.pop(rng.choice(sorted(model))))
    assert len(running) == 0
