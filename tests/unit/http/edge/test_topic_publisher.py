"""What a lane says and refuses: its spool at the start, its end, and shares over disk and memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from streams.connect.access.refusals import NotStored, Overloaded
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock, VirtualClock, settle
from streams.core.errors import BrokerUnavailable
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicConfig
from streams.http.edge.edge_run import EdgeRun
from streams.http.edge.request_batch import RequestBatch
from streams.http.edge.shipment import Shipper
from streams.http.edge.spool import Spool
from streams.http.edge.topic_publisher import PublisherBounds, TopicPublisher

SPOOL_BYTES = 4000


@pytest.fixture
async def broker():
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics([TopicConfig("t", 1, 1, {})])
    return made


@pytest.fixture
def lane_on(broker, tmp_path):
    """Creates a lane on the test's folder, with its metrics."""
    runs = []

    def create():
        run = EdgeRun(tmp_path)
        runs.append(run)
        metrics = Metrics()
        lane = TopicPublisher(
            "t",
            shipper=Shipper(broker, "t", SystemClock()),
            spool=Spool(tmp_path / "blocks", run.seed),
            run=run,
            clock=SystemClock(),
            metrics=metrics.edge,
            bounds=PublisherBounds(inflight_bytes=100_000, spool_bytes=SPOOL_BYTES),
        )
        return lane, metrics

    yield create
    for run in runs:
        run.close()


async def _until(holds):
    async with asyncio.timeout(200):
        while not holds():  # noqa: ASYNC110 - a lane has no notification
            await asyncio.sleep(0.01)


async def _ended(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_spool_found_at_the_start_is_in_the_gauge(broker, lane_on, tmp_path):
    """An edge that restarts during an outage must not report an empty spool."""
    run = EdgeRun(tmp_path)
    Spool(tmp_path / "blocks", run.seed).append([RequestBatch(run.name, 0, [b"k"], [b"v" * 90])])
    run.close()
    lane, metrics = lane_on()
    assert lane.spool_bytes > 90
    gauge = metrics.registry.get_sample_value("dia_edge_spool_bytes", {"topic": "t"})
    assert gauge == lane.spool_bytes


async def test_after_its_end_a_lane_refuses_events(broker, lane_on):
    """Nothing would store them, and their requests would wait for ever."""
    lane, _ = lane_on()
    running = asyncio.create_task(lane.run())
    await _until(lambda: lane.direct)
    await _ended(running)
    with pytest.raises(Overloaded, match="the edge is stopping") as refused:
        await lane.keep([b"k"], [b"v"])
    assert refused.value.retry_after_s == 5.0


async def test_what_a_tenant_has_in_flight_counts_beside_what_it_has_on_the_disk(broker, lane_on):
    """All of it goes to the disk while the broker is away."""
    broker.faults.down()
    lane, _ = lane_on()
    running = asyncio.create_task(lane.run())
    await lane.keep([b"greedy"], [b"x" * 700])
    asked = [asyncio.create_task(lane.keep([b"greedy"], [b"x" * 700])) for _ in range(3)]
    answers = Counter(map(type, await asyncio.gather(*asked, return_exceptions=True)))
    await _ended(running)
    assert answers == {str: 1, Overloaded: 2}


async def test_a_tenant_that_is_too_fast_is_asked_to_wait_a_second(lane_on):
    """A full memory empties with the next transaction; a full spool waits for the broker."""
    lane, _ = lane_on()
    running = asyncio.create_task(lane.run())
    await _until(lambda: lane.direct)
    asked = [asyncio.create_task(lane.keep([b"k"], [b"x" * 30_000])) for _ in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    await _ended(running)
    assert "log" in answers
    assert {one.retry_after_s for one in answers if isinstance(one, Overloaded)} == {1.0}


async def test_an_outage_is_not_taken_for_another_edge(broker, lane_on):
    """`edge_fenced` tells an operator of a copied folder."""
    lane, _ = lane_on()
    with capture_logs() as logs:
        running = asyncio.create_task(lane.run())
        await _until(lambda: lane.direct)
        broker.faults.down()
        assert await lane.keep([b"k"], [b"v"]) == "spool"
        await _ended(running)
    events = [log["event"] for log in logs]
    assert "edge_topic_interrupted" in events
    assert "edge_fenced" not in events


class _Shipments:
    """A `Shipper` whose calls the test reads; while ``away``, no connection is made."""

    def __init__(self, clock, *, away=False):
        self.clock = clock
        self.away = away
        self.tried_s = []
        self.sent = []

    async def connect(self, name):
        self.tried_s.append(self.clock.monotonic())
        if self.away:
            raise BrokerUnavailable("away")

    async def ship(self, blocks):
        self.sent.append([block.number for block in blocks])

    async def close(self):
        pass


@pytest.fixture
async def publisher(tmp_path):
    """A publisher in virtual time, with calls of the disk at once; ends with the test."""
    run, running = EdgeRun(tmp_path), []

    async def at_once(call):
        return call()

    async def create(*, away=False):
        clock = VirtualClock()
        shipments = _Shipments(clock, away=away)
        made = TopicPublisher(
            "t",
            shipper=shipments,
            spool=Spool(tmp_path / "blocks", run.seed),
            run=run,
            clock=clock,
            metrics=Metrics().edge,
            bounds=PublisherBounds(inflight_bytes=1 << 30, spool_bytes=SPOOL_BYTES),
            disk=at_once,
        )
        running.append(asyncio.create_task(made.run()))
        await settle()
        return made, shipments

    yield create
    for task in running:
        await _ended(task)
    run.close()


def _pauses(times_s):
    return [after - before for before, after in pairwise(times_s)]


async def test_a_broker_that_is_away_is_asked_less_and_less_up_to_every_five_seconds(publisher):
    """One that is back must be found in seconds, and a thousand edges must not storm it."""
    _, shipments = await publisher(away=True)
    await shipments.clock.advance(21.0)
    pauses = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert _pauses(shipments.tried_s) == pytest.approx(pauses)


async def test_requests_of_five_milliseconds_share_a_transaction(publisher):
    """A transaction costs the same for one batch as for many, and the first one waits no longer."""
    lane, shipments = await publisher()
    kept = [asyncio.create_task(lane.keep([b"k"], [b"v"]))]
    await settle()
    await shipments.clock.advance(0.0049)
    kept.append(asyncio.create_task(lane.keep([b"k"], [b"v"])))
    await settle()
    assert shipments.sent == []
    await shipments.clock.advance(0.0001)
    await settle()
    assert shipments.sent == [[0, 1]]
    assert await asyncio.gather(*kept) == ["log", "log"]


async def test_a_transaction_ends_with_the_batch_that_reaches_four_mebibytes(publisher):
    """A larger one would hold the broker's transaction open for longer than a deadline."""
    lane, shipments = await publisher()
    large = b"x" * (3 << 19)
    kept = [asyncio.create_task(lane.keep([b"k"], [large])) for _ in range(7)]
    await settle()
    await shipments.clock.advance(1.0)
    await settle()
    assert shipments.sent == [[0, 1, 2], [3, 4, 5], [6]]
    assert {*await asyncio.gather(*kept)} == {"log"}


async def test_what_waits_for_the_disk_at_the_end_is_answered(publisher, tmp_path):
    """A request that is neither in the log nor on the disk gets an error, and does not wait for ever."""
    lane, _ = await publisher(away=True)
    stuck = asyncio.Event()

    async def never(call):
        await stuck.wait()

    lane._disk = never
    kept = asyncio.create_task(lane.keep([b"k"], [b"v"]))
    await settle()
    (running,) = [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "run"]
    await _ended(running)
    with pytest.raises(NotStored, match="the edge is stopping"):
        await kept
