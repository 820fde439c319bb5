"""Requests without a result: exactly those of the tenant that are neither passed nor answered."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import SIMULATE_DECISION, SIMULATION_REQUEST, SIMULATOR_GROUP, app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.types import CommittedOffset, OutboundRecord, TopicPartition
from streams.http.console import waiting as module
from streams.http.console.logs import Logs
from streams.http.console.waiting import WaitingRequests
from streams.operate.topics.topics import wanted_topics

MINE, OTHER = "acme", "globex"
PLACES = [
    TopicPartition(SIMULATION_REQUEST.name, number)
    for number in range(SIMULATION_REQUEST.partitions)
]


class Rows:
    """Plays the shards: the rows of requests that are finished."""

    def __init__(self, finished: set[tuple[int, int]]) -> None:
        self.finished = finished
        self.asked: list[dict] = []

    async def of_all(self, sql: str, parameters: dict) -> list[tuple[int, int]]:
        self.asked.append(parameters)
        starts = parameters["starts"]
        return [(part, off) for part, off in self.finished if off >= starts[part]]


def _value(tenant: str, key: str) -> bytes:
    return msgspec.json.encode(
        {
            "tenant_id": tenant, "request_id": f"r-{key}", "idempotency_key": key,
            "model_id": "m", "scenario": "monte_carlo", "priority": 7, "trials": 100,
        }
    )  # fmt: skip


async def _filled(records: list[tuple[int, bytes, bytes]], committed: dict[int, int]):
    """A broker with these (partition, key, value), and what the group has committed."""
    broker = MemoryBroker(SystemClock())
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
def test_what_waits_is_what_is_neither_passed_nor_finished(drawn):
    """A request that is shown though it is done is cancelled in vain; one that is not shown is
    missed for ever."""
    asyncio.run(_law(drawn))


async def _law(drawn) -> None:
    # What the offset passed lies before everything else of its partition.
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


async def test_they_are_told_as_they_were_asked_for(monkeypatch):
    """Enough to find one again, and to cancel it."""
    broker, _ = await _filled([(0, MINE.encode(), _value(MINE, "k"))], {})
    rows = Rows(set())
    [one] = (await _waiting(broker, rows).of(MINE))["requests"]
    accepted_ms = one.pop("accepted_ms")
    assert abs(accepted_ms - SystemClock().now_ms()) < 60_000
    assert one == {
        "idempotency_key": "k", "request_id": "r-k", "model": "m", "scenario": "monte_carlo",
        "priority": 7, "trials": 100,
    }  # fmt: skip
    assert rows.asked[0]["tenant"] == MINE


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
async def test_what_will_be_a_dead_letter_is_nobodys(key, value):
    """A record whose key and value name two tenants must be shown to neither."""
    broker, _ = await _filled([(0, key, value)], {})
    waiting = _waiting(broker, Rows(set()))
    assert (await waiting.of(MINE))["requests"] == []
    assert (await waiting.of(OTHER))["requests"] == []


@pytest.mark.parametrize("bound", ["READ_MAX", "LISTED_MAX"])
async def test_a_list_that_is_cut_says_so(monkeypatch, bound):
    """Half of what waits must not look like all of it."""
    monkeypatch.setattr(module, bound, 3)
    broker, _ = await _filled([(0, MINE.encode(), _value(MINE, f"k{n}")) for n in range(5)], {})
    told = await _waiting(broker, Rows(set())).of(MINE)
    assert [one["idempotency_key"] for one in told["requests"]] == ["k0", "k1", "k2"]
    assert not told["complete"]


async def test_nothing_is_asked_of_clickhouse_when_nothing_waits():
    """Most tenants have no open request most of the time."""
    broker, _ = await _filled([(0, OTHER.encode(), _value(OTHER, "k"))], {})
    rows = Rows(set())
    assert (await _waiting(broker, rows).of(MINE)) == {"requests": [], "complete": True}
    assert rows.asked == []
