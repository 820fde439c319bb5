"""Requests without a result: exactly those of the tenant that are neither passed nor finished."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import SIMULATE_DECISION, SIMULATION_REQUEST, SIMULATOR_GROUP, app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock, VirtualClock
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition
from streams.http.console import waiting as module
from streams.http.console.logs import Logs
from streams.http.console.waiting import WaitingRequests
from streams.operate.topics.topics import wanted_topics

MINE, OTHER = "acme", "globex"
NOW_MS = 1_700_000_000_000
PLACES = [
    TopicPartition(SIMULATION_REQUEST.name, number)
    for number in range(SIMULATION_REQUEST.partitions)
]


class Rows:
    """Stands in for the shards: the rows of finished requests, which were appended at ``at_ms``."""

    def __init__(self, finished: set[tuple[int, int]], at_ms: int = NOW_MS) -> None:
        self.finished = finished
        self.at_ms = at_ms
        self.asked: list[dict] = []

    async def of_all(self, sql: str, parameters: dict) -> list[tuple[int, int, int]]:
        self.asked.append(parameters)
        starts = parameters["starts"]
        return [(part, off, self.at_ms) for part, off in self.finished if off >= starts[part]]


def _value(tenant: str, key: str) -> bytes:
    return msgspec.json.encode(
        {
            "tenant_id": tenant, "request_id": f"r-{key}", "idempotency_key": key,
            "model_id": "m", "scenario": "monte_carlo", "priority": 7, "trials": 100,
        }
    )  # fmt: skip


async def _filled(records: list[tuple[int, bytes, bytes]], committed: dict[int, int]):
    """A broker with these (partition, key, value), and the group's committed offsets."""
    broker = MemoryBroker(VirtualClock(NOW_MS))
    await (await broker.admin()).create_topics(wanted_topics(app.topology))
    producer = broker.transactional_producer("fill")
    await producer.start()
    offsets = []
    for partition, key, value in records:
        await producer.begin()
        sent = await producer.send(OutboundRecord(PLACES[partition], key, value))
        offsets.append((partition, await sent))
        await producer.commit()
    await producer.begin()
    place = {PLACES[number]: CommittedOffset(at, "") for number, at in committed.items()}
    await producer.send_offsets(place, SIMULATOR_GROUP)
    await producer.commit()
    return broker, offsets


def _waiting(broker: MemoryBroker, rows: Rows) -> WaitingRequests:
    clock = SystemClock()
    return WaitingRequests(SIMULATE_DECISION, broker, Logs(broker, clock), rows, clock)


requests = st.lists(
    st.tuples(
        st.integers(0, len(PLACES) - 1),
        st.sampled_from([MINE, OTHER]),
        st.sampled_from(["waits", "finished", "passed"]),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(requests)
def test_waiting_requests_are_neither_passed_nor_finished(drawn):
    """A finished request in the list would be cancelled in vain; a missing one would stay
    unnoticed.
    """
    asyncio.run(_law(drawn))


async def _law(drawn) -> None:
    # The passed offset lies before all other records of its partition.
    order = sorted(drawn, key=lambda one: one[2] != "passed")
    records = [
        (partition, tenant.encode(), _value(tenant, f"k{number}"))
        for number, (partition, tenant, _) in enumerate(order)
    ]
    _, offsets = await _filled(records, {})
    committed, finished, wanted = {}, set(), []
    for number, ((partition, tenant, state), place) in enumerate(zip(order, offsets, strict=True)):
        if state == "passed":
            committed[partition] = place[1] + 1
        elif state == "finished":
            finished.add(place)
        elif tenant == MINE:
            wanted.append(f"k{number}")
    broker, _ = await _filled(records, committed)
    told = await _waiting(broker, Rows(finished)).of(MINE)
    assert sorted(one["idempotency_key"] for one in told["requests"]) == sorted(wanted)
    assert told["complete"]


async def test_waiting_requests_are_shown_with_their_fields(monkeypatch):
    """Enough to find a request again, and to cancel it."""
    broker, _ = await _filled([(0, MINE.encode(), _value(MINE, "k"))], {})
    rows = Rows(set())
    [one] = (await _waiting(broker, rows).of(MINE))["requests"]
    assert one == {
        "accepted_ms": NOW_MS,
        "idempotency_key": "k", "request_id": "r-k", "model": "m", "scenario": "monte_carlo",
        "priority": 7, "trials": 100,
    }  # fmt: skip
    assert rows.asked[0]["tenant"] == MINE


async def test_a_row_of_a_topic_that_was_recreated_hides_no_request():
    """The new topic counts its offsets from 0 again, and the rows of the old one stay for 400 days."""
    broker, _ = await _filled([(0, MINE.encode(), _value(MINE, "k"))], {})
    told = await _waiting(broker, Rows({(0, 0)}, NOW_MS - 86_400_000)).of(MINE)
    assert [one["idempotency_key"] for one in told["requests"]] == ["k"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (OTHER.encode(), _value(MINE, "k")),
        (MINE.encode(), _value(OTHER, "k")),
        (None, _value(MINE, "k")),
        (MINE.encode(), b"{"),
        (MINE.encode(), None),
    ],
)
async def test_a_record_with_two_tenants_is_not_shown(key, value):
    """A record whose key and value name different tenants must not be shown to either."""
    broker, _ = await _filled([(0, key, value)], {})
    waiting = _waiting(broker, Rows(set()))
    assert (await waiting.of(MINE))["requests"] == []
    assert (await waiting.of(OTHER))["requests"] == []


@pytest.mark.parametrize("bound", ["READ_MAX", "LISTED_MAX"])
async def test_an_incomplete_list_says_so(monkeypatch, bound):
    """A part of the list must not look complete."""
    monkeypatch.setattr(module, bound, 3)
    broker, _ = await _filled([(0, MINE.encode(), _value(MINE, f"k{n}")) for n in range(5)], {})
    told = await _waiting(broker, Rows(set())).of(MINE)
    assert [one["idempotency_key"] for one in told["requests"]] == ["k0", "k1", "k2"]
    assert not told["complete"]


async def test_clickhouse_is_not_queried_without_waiting_requests():
    """Most tenants have no open request most of the time."""
    broker, _ = await _filled([(0, OTHER.encode(), _value(OTHER, "k"))], {})
    rows = Rows(set())
    assert (await _waiting(broker, rows).of(MINE)) == {"requests": [], "complete": True}
    assert rows.asked == []
