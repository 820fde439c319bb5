"""Probes over HTTP: each depends only on its own conditions."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest

from streams.core.clock import SystemClock, VirtualClock
from streams.core.degradation.level import Cause, Standing
from streams.core.process.listener import bound
from streams.core.telemetry import health
from streams.core.telemetry.health import AnswerPace, HealthServer, HealthState, PartitionCounts
from streams.core.telemetry.metrics import Metrics


@pytest.fixture
async def served():
    """A served state with its metrics, and a function that requests a path and returns (status,
    text).
    """
    clock = SystemClock()
    state, metrics = HealthState(clock), Metrics(version="9", process="edge")
    server = HealthServer(state, metrics, clock, bound("127.0.0.1", 0, "DIA_HTTP_PORT"))
    port = await server.start()
    async with aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text()

        yield state, metrics, ask
    await server.stop()


async def test_probes_follow_the_state(served):
    """A process starts, gets partitions, restores, serves and drains: each probe is checked at each
    step.
    """
    state, _, ask = served
    assert (await ask("/livez"))[0] == 200
    assert (await ask("/startupz"))[0] == 503
    assert (await ask("/readyz"))[0] == 503
    state.mark_started()
    assert (await ask("/startupz"))[0] == 200
    assert "no assignment" in (await ask("/readyz"))[1]
    state.set_partitions(PartitionCounts(ready=1, restoring=1))
    assert "1 partitions restoring" in (await ask("/readyz"))[1]
    state.set_partitions(PartitionCounts(ready=2))
    assert (await ask("/readyz"))[0] == 200
    state.mark_draining()
    assert await ask("/readyz") == (503, '{"ok": false, "reason": "draining"}')
    assert (await ask("/livez"))[0] == 200


async def test_degradation_is_reported_without_a_restart(served):
    """If a dependency failed the probe, every process would be restarted at the same time."""
    state, _, ask = served
    state.mark_started()
    state.set_partitions(PartitionCounts(ready=1))
    assert await ask("/degradation") == (200, '{"level":0,"since_ms":0,"causes":[]}')
    cause = Cause(signal="kafka", level=3, why="silent", since_ms=5)
    state.set_standing(Standing(level=3, since_ms=5, causes=(cause,)))
    status, text = await ask("/degradation")
    assert (status, json.loads(text)["causes"][0]["signal"]) == (200, "kafka")
    assert (await ask("/readyz"))[0] == (await ask("/livez"))[0] == 200


async def test_a_stopped_partition_is_not_ready(served):
    """A rollout that stops a partition must halt before it stops the next."""
    state, _, ask = served
    state.mark_started()
    state.set_partitions(PartitionCounts(ready=3, stopped=1))
    status, text = await ask("/readyz")
    assert status == 503
    assert "dia status" in text


async def test_a_worker_without_partitions_is_ready(served):
    """A worker without partitions has nothing to wait for."""
    state, _, ask = served
    state.mark_started()
    state.set_partitions(PartitionCounts())
    assert (await ask("/readyz"))[0] == 200


async def test_metrics_are_served_with_the_heartbeat(served):
    """Prometheus gets the given registry, with the version of the code."""
    _, metrics, ask = served
    metrics.commit.failures.labels("commit_in_doubt").inc()
    status, text = await ask("/metrics")
    assert status == 200
    assert 'dia_commit_failures_total{code="commit_in_doubt"} 1.0' in text
    assert 'dia_build_info{process="edge",version="9"} 1.0' in text
    assert "dia_loop_heartbeat_timestamp_seconds 1." in text


async def test_concurrent_requests_for_metrics_share_one_text(served, monkeypatch):
    """Four clients that poll without pause must not take most of a core from the interpreter that
    folds events.
    """
    written = []
    monkeypatch.setattr(health, "METRICS_AGE_S", 3600.0)
    monkeypatch.setattr(
        health, "generate_latest", lambda registry: written.append(1) or b"dia_written 1"
    )
    _, _, ask = served
    answers = await asyncio.gather(*(ask("/metrics") for _ in range(2 * health.BURST)))
    assert {status for status, _ in answers} <= {200, 429}
    assert len(written) == 1


async def test_requests_of_one_address_are_delayed_and_then_refused():
    """Meanwhile another address is answered at once, and the first one again after a moment."""
    clock = VirtualClock()
    pace = AnswerPace(clock, per_s=10, burst=5, waiting_max=3)
    assert all([await pace.turn("a") for _ in range(5)])
    waiting = [asyncio.create_task(pace.turn("a")) for _ in range(4)]
    await asyncio.sleep(0)
    assert [one.done() for one in waiting] == [False, False, False, True]
    assert waiting[3].result() is False
    assert await pace.turn("b")
    await clock.advance(0.3)
    assert [one.result() for one in waiting] == [True, True, True, False]
    assert len(pace._next_s) == 2


async def test_the_port_paces_each_address(monkeypatch):
    """The pace has to stand before every path: a flood of one address delayed probes and metrics."""
    monkeypatch.setattr(health, "BURST", 2)
    monkeypatch.setattr(health, "WAITING_MAX", 0)
    clock = VirtualClock()
    server = HealthServer(
        HealthState(clock), Metrics(), clock, bound("127.0.0.1", 0, "DIA_HTTP_PORT")
    )
    port = await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            answers = [await session.get(f"http://127.0.0.1:{port}/livez") for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 429]
            assert answers[2].headers["Retry-After"] == "1"
    finally:
        await server.stop()


async def test_the_number_of_remembered_addresses_is_bounded(monkeypatch):
    """Silent addresses are evicted; while all are active, a new one is refused."""
    monkeypatch.setattr(health, "ADDRESSES_MAX", 2)
    clock = VirtualClock()
    pace = AnswerPace(clock, per_s=10, burst=5, waiting_max=3)
    assert await pace.turn("a")
    assert await pace.turn("b")
    assert not await pace.turn("c")
    await clock.advance(1.0)
    assert await pace.turn("c")


async def test_unknown_paths_and_methods_are_refused(served):
    """The port answers four paths only."""
    _, _, ask = served
    assert (await ask("/"))[0] == 404


async def test_liveness_is_the_age_of_the_heartbeat():
    """Only a blocked event loop is dead; one heartbeat ends that state."""
    clock = VirtualClock(start_ms=0)
    state = HealthState(clock, stale_after_s=30)
    await clock.advance(30)
    assert state.live().ok
    await clock.advance(0.5)
    assert not state.live().ok
    state.beat()
    assert state.live().ok


async def test_a_stuck_loop_is_reported_by_the_probe_itself():
    """The probe's thread answers while the event loop is blocked."""
    clock = VirtualClock(start_ms=0)
    state = HealthState(clock, stale_after_s=5)
    server = HealthServer(state, Metrics(), clock, bound("127.0.0.1", 0, "DIA_HTTP_PORT"))
    port = await server.start()
    await asyncio.sleep(0)
    await clock.advance(0.5)
    clock._now_s += 60  # > time passes without a turn of the event loop

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
            link.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            return link.makefile("rb").read()

    answer = ask()  # > not awaited on purpose: this blocks the watched event loop
    await server.stop()
    assert b"503" in answer
    assert b"not turned" in answer


async def test_stop_without_start_is_harmless():
    """A worker that fails early runs its whole shutdown."""
    clock = SystemClock()
    await HealthServer(
        HealthState(clock), Metrics(), clock, bound("127.0.0.1", 0, "DIA_HTTP_PORT")
    ).stop()
