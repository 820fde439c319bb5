"""J1 to J6, one step at a time: what is read, judged, answered, passed and skipped."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace

import pytest

from agents import SIMULATE_DECISION
from streams.broker.memory import MemoryBroker
from streams.clock import VirtualClock, settle
from streams.queue_policy import QueuePolicy
from streams.runtime.assignment import Opener
from streams.runtime.commit import commit
from streams.runtime.dispatcher import Dispatcher
from streams.settings import Settings
from streams.sinks.memory import MemoryShards
from streams.telemetry.metrics import Metrics
from streams.topics import wanted_topics
from streams.topology import SIMULATION_REQUEST, SIMULATION_RESULT, SIMULATOR_GROUP
from streams.types import TopicPartition
from tables.memory import MemoryDisk

SOURCE = TopicPartition(SIMULATION_REQUEST.name, 0)
RESULTS = TopicPartition(SIMULATION_RESULT.name, 0)
DLQ = TopicPartition(SIMULATION_REQUEST.dlq, 0)
SETTINGS = Settings(max_ahead=5, changelog_slack_bytes=500)


class Hand:
    """A `Performer` whose work ends when the test says so, each run with a number of its own."""

    slots = 100

    def __init__(self):
        self.runs = itertools.count(1)
        self.waiting = {}
        self.told = []

    def queue(self, name):
        return QueuePolicy()

    async def perform(self, event):
        run = next(self.runs)
        gate = self.waiting.setdefault(event.request_id, asyncio.Event())
        await gate.wait()
        return {"run": run}

    def finished(self, event, outcome):
        self.told.append(event.request_id)

    async def close(self):
        """Nothing to close."""


class Desk:
    """One partition of `simulate_decision`, by hand."""

    def __init__(self):
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock)
        self.shards = MemoryShards(2, self.clock)
        self.disk = MemoryDisk()
        self.hand = Hand()
        self.numbers = itertools.count()

    async def open(self):
        """A1 to A4, in a process of its own."""
        dispatcher = Dispatcher(self.hand, self.clock, Metrics(), 0.25)
        opener = Opener(
            broker=self.broker,
            stores=self.disk,
            clock=self.clock,
            settings=SETTINGS,
            shards=2,
            shard_of=self.shards.shard_of,
            dispatchers={SIMULATE_DECISION.name: dispatcher},
        )
        self.opened = await opener.open(SIMULATE_DECISION, SOURCE, lambda: None)
        self.partition = self.opened.partition

    async def crash(self):
        self.partition.abandon()
        await settle()
        await self.open()

    async def ask(self, key, **fields):
        """Append a request; its id."""
        request_id = f"r{next(self.numbers)}"
        request = {
            "request_id": request_id,
            "idempotency_key": key,
            "tenant_id": "t",
            "model_id": "m",
            "scenario": "s",
            "priority": 1,
            "trials": 1,
            "parameters": {},
            "ts": self.clock.now_ms(),
        }
        producer = self.broker.plain_producer()
        value = json.dumps({**request, **fields}).encode()
        await (await producer.send(SOURCE.topic, b"t", value))
        return request_id

    async def read(self):
        """J1 and J2 of all that lies in the source."""
        reader = await self.broker.reader()
        self.partition.fold(await reader.read(SOURCE, self.partition.position))
        await settle()

    async def finish(self, *request_ids):
        for request_id in request_ids:
            self.hand.waiting[request_id].set()
        await settle()

    async def commit(self):
        prepared = self.partition.prepare([100, 100])
        await commit(self.partition, prepared, self.opened.producer, self.clock, Metrics(), 4.0)
        return prepared

    def results(self):
        values = self.broker.log(RESULTS).read_committed(0, 1 << 20).values
        return {result["request_id"]: result for result in map(json.loads, values)}

    def dead(self):
        headers = self.broker.log(DLQ).read_committed(0, 1 << 20).headers
        return [dict(found)["dia.dlq.error_code"].decode() for found in headers]

    def committed(self):
        found = self.broker.committed(SIMULATOR_GROUP, SOURCE)
        return found.offset if found else None


@pytest.fixture
async def desk():
    made = Desk()
    admin = await made.broker.admin()
    await admin.create_topics([replace(topic, partitions=1) for topic in wanted_topics()])
    await made.open()
    return made


async def test_the_offset_follows_the_unfinished_and_not_the_finished(desk):
    """Otherwise a crash would lose what was read and not done: lag is the work that is left."""
    first, second, third = [await desk.ask(f"k{n}") for n in range(3)]
    await desk.read()
    await desk.finish(second, third)
    await desk.commit()
    assert (desk.committed(), set(desk.results())) == (0, {second, third})
    counters = desk.partition.state.link.counters
    assert (counters.read, counters.applied) == (0, 0)
    await desk.finish(first)
    await desk.commit()
    counters = desk.partition.state.link.counters
    assert (desk.committed(), counters.read, counters.applied) == (3, 3, 3)


async def test_a_commit_settles_what_it_answers_and_what_lies_before(desk):
    """Whoever follows a request by a trace is led to the commit that holds its answer."""
    first, second, _ = [await desk.ask(f"k{n}") for n in range(3)]
    await desk.read()
    await desk.finish(second)
    await desk.commit()
    assert [desk.partition.settles(offset) for offset in range(3)] == [False, True, False]
    await desk.finish(first)
    await desk.commit()
    assert [desk.partition.settles(offset) for offset in range(3)] == [True, True, False]


async def test_after_a_crash_only_unfinished_work_runs_again(desk):
    """What was committed above the prefix is skipped when it is read again."""
    first, second, third = [await desk.ask(f"k{n}") for n in range(3)]
    await desk.read()
    await desk.finish(second)
    await desk.commit()
    await desk.finish(third)
    await desk.crash()
    await desk.read()
    await desk.finish(first)
    await desk.commit()
    assert desk.committed() == 3
    assert {name: found["summary"] for name, found in desk.results().items()} == {
        first: {"run": 4},
        second: {"run": 2},
        third: {"run": 5},
    }


async def test_repeats_get_results_of_their_own_with_the_summary_of_the_first(desk):
    """Whether they come while the first runs, after it, or after a crash; it runs once."""
    first, during = await desk.ask("k"), await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    after = await desk.ask("k", ts=desk.clock.now_ms() + 5, priority=9)
    await desk.read()
    await desk.commit()
    await desk.crash()
    later = await desk.ask("k")
    await desk.read()
    await desk.commit()
    results = desk.results()
    assert set(results) == {first, during, after, later}
    assert {json.dumps(found["summary"]) for found in results.values()} == {'{"run": 1}'}
    counters = desk.partition.state.link.counters
    assert (counters.applied, counters.duplicates) == (1, 3)


async def test_a_key_with_another_payload_is_a_dead_letter_also_while_the_first_runs(desk):
    """It must never be merged in silence, nor answered with what it did not ask for."""
    first = await desk.ask("k")
    await desk.ask("k", trials=2)
    await desk.read()
    await desk.finish(first)
    await desk.ask("k", parameters={"x": 1})
    await desk.read()
    await desk.commit()
    assert desk.dead() == ["idempotency_conflict"] * 2
    assert set(desk.results()) == {first}


async def test_a_key_is_new_again_after_its_time(desk):
    """The time counts from the first request's append and is not refreshed by repeats."""
    first = await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    await desk.clock.advance(SETTINGS.dedupe_ttl_s + 1)
    again = await desk.ask("k", trials=7)
    await desk.read()
    await desk.finish(again)
    await desk.commit()
    assert desk.results()[again]["summary"] == {"run": 2}


async def test_reading_stops_at_the_bound_and_goes_on_when_the_prefix_moves(desk):
    """One request that takes an hour must not fill the memory with what came after it."""
    asked = [await desk.ask(f"k{n}") for n in range(8)]
    await desk.read()
    assert (desk.partition.position, desk.partition.fill) == (5, 1.0)
    await desk.finish(*asked[1:5])
    await desk.read()
    assert desk.partition.position == 5
    await desk.finish(asked[0])
    await desk.read()
    assert desk.partition.position == 8


async def test_a_cancelled_request_says_so_and_so_does_the_one_that_cancelled(desk):
    """Both in one commit; what is finished, or never was, cannot be cancelled any more."""
    running, done = await desk.ask("running"), await desk.ask("done")
    await desk.read()
    await desk.finish(done)
    asked = [
        await desk.ask(f"c-{key}", scenario="cancel", parameters={"idempotency_key": key})
        for key in ("running", "done")
    ]
    await desk.read()
    await desk.commit()
    results = desk.results()
    assert results[running]["status"] == "cancelled"
    assert results[running]["error"]["code"] == "cancelled"
    assert results[done]["status"] == "completed"
    assert [results[name]["summary"]["cancelled"] for name in asked] == [True, False]
    assert desk.committed() == 4


async def test_bad_requests_are_dead_letters_and_do_not_hold_the_prefix(desk):
    """Poison between two requests is passed like anything that is finished."""
    producer = desk.broker.plain_producer()
    await (await producer.send(SOURCE.topic, b"t", b"{"))
    first = await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    await desk.commit()
    assert (desk.dead(), desk.committed()) == (["invalid_json"], 2)
    assert desk.partition.state.link.counters.dead_by_code == {"invalid_json": 1}


async def test_hooks_are_told_of_what_is_committed_and_not_before(desk):
    """What a hook does cannot be taken back: the result must be true by then."""
    first, _ = await desk.ask("k"), await desk.ask("k")
    await desk.read()
    await desk.finish(first)
    prepared = await desk.commit()
    assert desk.hand.told == []
    for tell in prepared.told:
        tell()
    assert desk.hand.told == [first]


async def test_a_bug_in_the_agent_stops_the_partition_with_nothing_half_done(desk, monkeypatch):
    """The request stays unfinished: after the fix it runs again."""
    first = await desk.ask("k")
    await desk.read()
    broken = replace(SIMULATE_DECISION, answer=lambda event, outcome, place: 1 / 0)
    monkeypatch.setattr(desk.partition, "_jobs", broken)
    await desk.finish(first)
    assert desk.partition.failure.code == "agent_failed"
    assert not desk.partition.has_changes()
