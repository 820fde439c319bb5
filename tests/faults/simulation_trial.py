"""Simulations end to end: requests are sent, workers and pool processes killed, and all results
compared."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

from agents.app import SIMULATION_REQUEST, SIMULATION_RESULT, SIMULATOR_GROUP, app
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.broker.log_range import read_range
from streams.connect.policy.policy import Policy
from streams.connect.sinks.schema import servers
from streams.core.clock import SystemClock
from streams.core.settings import load
from streams.core.types import TopicPartition
from streams.dev.local.preparation import environment
from streams.dev.local.stack import StackStatus
from streams.dev.workload.requests import RequestGenerator, RequestOracle, RequestWorkload
from streams.engine.health.live_workers import pipeline_settled
from streams.operate.produce.feed import RecordFeed
from streams.operate.topics.topics import apply, plan, wanted_topics
from tests.faults.worker import FaultWorker

POLL_S = 0.1
TENANTS = 30
_BLOCK = 250


def policies(names: Sequence[str]) -> list[Policy]:
    """Give every tenant of the workload each policy of ``names``, with all rights."""
    tenants = [f"tenant-{number:04d}" for number in range(TENANTS)]
    return [Policy(tenant_id=tenant, policy_id=name) for tenant in tenants for name in names]


class SimulationTrial:
    """One run against a stack; its keys are unique, so it can share the stack."""

    def __init__(self, stack: StackStatus, folder: Path, **settings: str) -> None:
        self.stack = stack
        self.folder = folder
        self.environ: Mapping[str, str] = {
            **environment(stack.home, stack.settings()),
            **{f"DIA_{name.upper()}": value for name, value in settings.items()},
        }
        self.settings, _ = load(self.environ)
        self.broker = KafkaBroker(stack.kafka_bootstrap, request_timeout_s=90.0)
        self.oracle = RequestOracle()
        self.workers: list[FaultWorker] = []
        self._starts: dict[TopicPartition, int] = {}

    async def open(self) -> None:
        """Create topics and tables, and record the current ends of the logs."""
        admin = await self.broker.admin()
        await apply(
            admin, plan(app.topology, wanted_topics(app.topology), await admin.describe_topics())
        )
        await admin.close()
        for server in servers(self.settings, app.clickhouse_tables):
            await asyncio.to_thread(server.migrator.apply)
        reader = await self.broker.reader()
        for name in (SIMULATION_RESULT.name, SIMULATION_REQUEST.dlq):
            for partition in range(SIMULATION_REQUEST.partitions):
                tp = TopicPartition(name, partition)
                self._starts[tp] = await reader.last_stable_offset(tp)
        await reader.close()

    def worker(self, slot: int) -> FaultWorker:
        """Start one; each slot has a host's folder of its own, so that slots never wait for locks."""
        state = self.folder / f"state-{slot}"
        command = ["-m", "streams", "worker", "--agents", "simulate_decision", "--slot", str(slot)]
        environ = {**os.environ, **self.environ, "DIA_STATE_DIR": str(state)}
        log = self.folder / f"worker-{slot}.log"
        made = FaultWorker(command, slot=slot, state=state, environ=environ, log=log)
        self.workers.append(made)
        return made

    async def feed(self, requests: int, rate_per_s: float | None = None, **shape: Any) -> None:
        """Send requests; ``self.oracle`` computes their expected results."""
        clock = SystemClock()
        workload = RequestWorkload(start_ms=clock.now_ms() - 60_000, step_ms=1.0, **shape)
        generator = RequestGenerator(workload)
        self.oracle = generator.oracle
        producer = self.broker.plain_producer()
        await producer.start()
        feed = RecordFeed(producer, SIMULATION_REQUEST.name, clock, rate_per_s=rate_per_s)
        for block in generator.blocks(requests, _BLOCK):
            await feed.send(*block)
        await feed.drain()
        await producer.close()

    async def until(self, holds: Callable[[], bool], patience_s: float = 200.0) -> None:
        """Wait until ``holds()`` is true."""
        deadline = time.monotonic() + patience_s
        while not holds():
            tails = "".join(worker.tail(5) for worker in self.workers)
            assert time.monotonic() < deadline, f"not within {patience_s} s: {tails}"
            await asyncio.sleep(POLL_S)

    async def answered(self, results: int, patience_s: float = 200.0) -> None:
        """Wait until this many results are committed."""
        reader = await self.broker.reader()
        starts = {tp: at for tp, at in self._starts.items() if tp.topic == SIMULATION_RESULT.name}
        deadline = time.monotonic() + patience_s
        found = 0
        while found < results:
            assert time.monotonic() < deadline, f"{found} results within {patience_s} s"
            await asyncio.sleep(POLL_S)
            found = sum([await reader.last_stable_offset(tp) - at for tp, at in starts.items()])
        await reader.close()

    async def settled(self, patience_s: float) -> None:
        """Wait until every request is answered and every row is in ClickHouse."""
        deadline = time.monotonic() + patience_s
        while await self._behind():
            assert time.monotonic() < deadline, f"requests are not answered in {patience_s} s"
            await asyncio.sleep(POLL_S)
        await self.until(self._settled, patience_s)

    async def _behind(self) -> bool:
        """Whether a request lies beyond the group's committed offset."""
        reader, admin = await self.broker.reader(), await self.broker.admin()
        numbers = range(SIMULATION_REQUEST.partitions)
        sources = [TopicPartition(SIMULATION_REQUEST.name, number) for number in numbers]
        committed = await admin.committed(SIMULATOR_GROUP, sources)
        ends = {tp: await reader.last_stable_offset(tp) for tp in sources}
        await reader.close()
        await admin.close()
        return any(
            end > (committed[tp].offset if tp in committed else 0) for tp, end in ends.items()
        )

    def _settled(self) -> bool:
        told = [worker.told() for worker in self.workers if worker.exit_code is None]
        return pipeline_settled([one for one in told if one is not None]) and all(
            (held["lag"] or 0) == 0 for one in told if one is not None for held in one.partitions
        )

    async def records(self, name: str) -> list[tuple[dict[str, bytes], bytes]]:
        """Headers and value of every record appended to a topic since `open`."""
        reader, found = await self.broker.reader(), []
        for partition in range(SIMULATION_REQUEST.partitions):
            tp = TopicPartition(name, partition)
            end = await reader.last_stable_offset(tp)
            async for batch in read_range(reader, tp, self._starts[tp], end):
                headers = [dict(pairs) for pairs in batch.headers]
                found += zip(headers, [value or b"" for value in batch.values], strict=True)
        await reader.close()
        return found

    async def check(self) -> dict[str, dict[str, Any]]:
        """Check that every request has exactly one result, repeats have the same one, conflicts and
        poison are dead letters, and the table equals the topic. Returns results by request id."""
        results = [json.loads(value) for _, value in await self.records(SIMULATION_RESULT.name)]
        counted = Counter(result["request_id"] for result in results)
        assert counted == Counter(self.oracle.asked.keys())
        by_key: dict[str, set[str]] = defaultdict(set)
        for result in results:
            key = self.oracle.asked[result["request_id"]]
            assert key == f"{result['tenant_id']}/{result['idempotency_key']}"
            # One run has one pair of times: two runs with equal summaries would show here.
            outcome = {name: part for name, part in result.items() if name != "request_id"}
            by_key[key].add(json.dumps(outcome, sort_keys=True))
        assert len(by_key) == self.oracle.keys
        assert {key: found for key, found in by_key.items() if len(found) > 1} == {}
        dead = Counter(
            found["dia.dlq.error_code"].decode()
            for found, _ in await self.records(SIMULATION_REQUEST.dlq)
        )
        assert dead["idempotency_conflict"] == self.oracle.conflicts
        assert dead.total() == self.oracle.conflicts + self.oracle.poison
        by_id = {result["request_id"]: result for result in results}
        await self._check_rows(by_id)
        return by_id

    async def _check_rows(self, results: dict[str, dict[str, Any]]) -> None:
        rows = await asyncio.to_thread(self._rows)
        mine = {row[0]: row[1:] for row in rows if row[0] in results}
        assert len([row for row in rows if row[0] in results]) == len(results)
        for request_id, result in results.items():
            status, summary, _ = mine[request_id]
            assert (status, json.loads(summary)) == (result["status"], result["summary"])
        assert sum(repeated for _, _, repeated in mine.values()) == self.oracle.repeats

    def _rows(self) -> list[Sequence[Any]]:
        server = servers(self.settings, app.clickhouse_tables)[0]
        sql = "SELECT request_id, status, summary, repeated FROM simulations"
        rows = list(server.replica.query(sql, {})[1])
        server.replica.close()
        return rows

    def pool_pids(self, worker: FaultWorker) -> list[int]:
        """The worker's pool processes."""
        return [
            child.pid
            for child in psutil.Process(worker.pid).children()
            if "streams.engine.pool.child" in " ".join(child.cmdline())
        ]

    def earlier_starts(self, results: Mapping[str, Mapping[str, Any]]) -> tuple[float, float]:
        """Mean number of simulations that started before one of high and one of normal priority.

        Seconds say less: they include the start of the pool's process and other load of the
        machine.
        """
        order = sorted(results, key=lambda request_id: results[request_id]["started_ts"])
        lanes: dict[bool, list[int]] = defaultdict(list)
        for place, request_id in enumerate(order):
            lanes[request_id in self.oracle.high].append(place)
        return mean(lanes[True]), mean(lanes[False])

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
