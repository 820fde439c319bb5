"""Traces across records: a dead letter and its replay, plans, requests and their answers."""

from __future__ import annotations

import json

import pytest

from agents.app import SIMULATE_DECISION, SIMULATION_REQUEST, SIMULATION_RESULT, SIMULATOR_GROUP
from agents.app import app as built_in
from streams import App, Count, Record
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.opened import opened
from streams.core.clock import SystemClock
from streams.core.records import headers
from streams.core.settings import Settings
from streams.core.types import CommittedOffset, OutboundRecord, TopicConfig, TopicPartition
from streams.operate.replay.journal.journal import Disposed, PlanEntered, record
from streams.operate.topics.topics import wanted_topics
from streams.operate.trace.means import TraceBounds, TraceMeans
from streams.operate.trace.timeline import timeline
from streams.operate.trace.tracer import trace
from streams.operate.trace.verdict import Fate
from streams.testing import AppTester
from tests.traced import traced


class Order(Record):
    id: str
    account: str
    ts: int


app = App("shop")
orders = app.topic("orders", value_type=Order, key_field="account", time_field="ts", partitions=1)
app.windows(
    "sales",
    of=orders,
    by=("account",),
    size="1m",
    grace="1s",
    late="drop",
    fold={"n": Count()},
    ids="id",
)


@pytest.fixture
def tester():
    with AppTester(app) as made:
        yield made


def journalled(tester, *entries):
    """Write the journal entries of a replay."""

    async def write():
        producer = tester._world.broker.transactional_producer("by-hand")
        await producer.start()
        await producer.begin()
        for entry in entries:
            await (await producer.send(record(TopicPartition(orders.journal, 0), entry)))
        await producer.commit()
        await producer.close()

    tester._run(write())
    tester.advance(1)


def test_a_dead_letter_and_its_replay_are_one_trace(tester):
    """The trace ends with the counted event, and names the plan and its author."""
    tester.send(orders, b'{"id":"o-1",', key="a")
    [one] = traced(tester, "o-1").records
    assert one.verdict.fate is Fate.DEAD_LETTER
    marks = [
        (headers.REPLAY_HOPS, b"1"),
        (headers.REPLAY_APPEND_TS, b"%d" % tester.now_ms),
        (headers.REPLAY_PLAN, b"p-7"),
        (headers.REPLAY_ID, one.record.place.encode()),
    ]
    repaired = Order(id="o-1", account="a", ts=tester.now_ms)
    tester.send(orders, repaired, headers=marks)
    journalled(
        tester,
        PlanEntered(seq=1, at_ms=tester.now_ms, actor="ann", plan="p-7", end=1, replay="0"),
        Disposed(seq=2, at_ms=tester.now_ms, actor="ann", plan="p-7", replayed="0"),
    )
    report = traced(tester, "o-1")
    first, second = report.records
    assert (first.verdict.code, first.letters[0].state) == ("invalid_json", "replayed")
    assert (second.verdict.fate, second.record.replay_of) == (Fate.COUNTED, first.record.place)
    assert report.outcome == f"counted: {second.record.place}"
    said = " ".join(step.text for one in report.records for step in timeline(one))
    assert "by plan p-7, ann" in said
    assert f"a replay of {first.record.place}" in said
    by_place = traced(tester, first.record.place)
    assert [one.record.place for one in by_place.records] == [
        first.record.place,
        second.record.place,
    ]


def test_a_plan_is_found_by_its_id(tester):
    """The trace contains the replayed records."""
    journalled(
        tester,
        PlanEntered(seq=1, at_ms=tester.now_ms, actor="ann", plan="p-7", end=3, replay="0-2"),
    )
    report = traced(tester, "p-7")
    [plan] = report.plans
    assert (plan.topic, plan.status.state, plan.status.letters) == ("orders", "entered", 3)
    assert report.outcome == "plan: entered"
    assert not traced(tester, "p-7", owner="acme").found


def test_a_record_that_every_window_dropped_is_late(tester):
    """The ledger counts it, and no window holds it."""
    tester.send(orders, Order(id="o-1", account="a", ts=tester.now_ms))
    tester.advance(5)
    tester.send(orders, Order(id="o-2", account="a", ts=tester.now_ms - 600_000))
    report = traced(tester, "o-2")
    [one] = report.records
    assert (one.verdict.fate, one.windows[0].late) == (Fate.COUNTED, True)
    assert report.outcome == f"late at {one.record.place}: dropped by every window"
    [counted] = traced(tester, "o-1").records
    assert counted.windows[0].late is False


async def test_a_request_is_followed_to_its_answer():
    """By its key; a request after the finished prefix is not read yet."""
    broker = MemoryBroker(SystemClock())
    async with opened(broker.admin()) as admin, opened(broker.reader()) as reader:
        topics = wanted_topics(built_in.topology)
        await admin.create_topics([TopicConfig(t.name, t.partitions, 1, t.config) for t in topics])
        now_ms = SystemClock().now_ms()
        asked = {
            "request_id": "r-1", "idempotency_key": "k-1", "tenant_id": "acme", "model_id": "m",
            "scenario": "monte_carlo", "trials": 10, "seed": 1, "parameters": {}, "priority": 5,
            "ts": now_ms,
        }  # fmt: skip
        answer = {
            "request_id": "r-1", "idempotency_key": "k-1", "tenant_id": "acme",
            "status": "completed", "summary": {}, "error": None, "started_ts": now_ms, "finished_ts": now_ms,
        }  # fmt: skip
        request, result = (
            TopicPartition(topic.name, 1) for topic in (SIMULATION_REQUEST, SIMULATION_RESULT)
        )
        producer = broker.transactional_producer("by-hand")
        await producer.start()
        await producer.begin()
        for tp, value in ((request, asked), (request, asked), (result, answer)):
            body = json.dumps(value).encode()
            await (await producer.send(OutboundRecord(tp, b"acme", body)))
        await producer.send_offsets({request: CommittedOffset(1, "")}, SIMULATOR_GROUP)
        await producer.commit()
        means = TraceMeans.of(built_in, Settings(), SystemClock(), reader, admin, None)
        report = await trace(means, "k-1", TraceBounds())
    requests = [one for one in report.records if one.record.topic is SIMULATE_DECISION.source]
    assert [one.verdict.fate for one in requests] == [Fate.COUNTED, Fate.UNREAD]
    assert [one.place for one in requests[0].answers] == [f"{result}/0"]
    assert requests[0].answers[0].fields["request_id"] == "r-1"
    answered = [one for one in report.records if one.record.topic.name == SIMULATION_RESULT.name]
    assert [one.verdict.fate for one in answered] == [Fate.NO_READER]
