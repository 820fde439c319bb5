"""Probes and metrics of one process, on one port, served by a thread of their own: a stuck event
loop could not answer.

Probes never call Kafka, ClickHouse or Redis: a restart cures none of them.

- ``/startupz``  the process is wired and has reached its broker once
- ``/livez``     the event loop's heartbeat is younger than `HealthState.stale_after_s`
- ``/readyz``    started, assigned, every assigned partition takes records, not draining
- ``/degradation``  the process's level, since when, and why; always 200
- ``/status``    a worker's partitions, as in its status file, with their age in seconds in the
header
  ``Age``; 404 from other processes
- ``/metrics``   Prometheus text format, at most `METRICS_AGE_S` old

A client that sends more than `PER_S` requests waits: the thread shares the interpreter with the
process's work."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.core.clock import Clock
from streams.core.process.listener import address_of
from streams.core.telemetry.metrics import Metrics

ADDRESSES_MAX: Final = 1000


class AnswerPace:
    """``per_s`` answers per second and address, ``burst`` at once; at most ``waiting_max`` wait, and
    others are refused. The health port has no tokens."""

    def __init__(self, clock: Clock, *, per_s: float, burst: int, waiting_max: int) -> None:
        self._clock = clock
        self._spacing_s = 1 / per_s
        self._burst_s = burst / per_s
        self._wait_max_s = waiting_max / per_s
        self._next_s: dict[str, float] = {}

    async def turn(self, address: str) -> bool:
        """Return when ``address`` may be answered; False, at once, to refuse it."""
        now_s = self._clock.monotonic()
        if address not in self._next_s and len(self._next_s) >= ADDRESSES_MAX:
            floor_s = now_s - self._burst_s
            self._next_s = {name: at for name, at in self._next_s.items() if at > floor_s}
            if len(self._next_s) >= ADDRESSES_MAX:
                return False
        at_s = max(self._next_s.get(address, -math.inf), now_s - self._burst_s) + self._spacing_s
        if at_s - now_s > self._wait_max_s:
            return False
        self._next_s[address] = at_s
        if at_s > now_s:
            await self._clock.sleep(at_s - now_s)
        return True


HEARTBEAT_INTERVAL_S = 1.0
STALE_AFTER_S = 30.0
"""Far longer than one step of the loop, so that load causes no restart."""
STOP_TIMEOUT_S = 5.0
REQUEST_BYTES_MAX = 1024
METRICS_AGE_S = 1.0
"""Rendering takes tens of milliseconds; requests within this time share one."""
PER_S = 20.0
BURST = 40
WAITING_MAX = 20


class ProbeVerdict(NamedTuple):
    ok: bool
    reason: str


class PartitionCounts(NamedTuple):
    ready: int = 0
    restoring: int = 0
    stopped: int = 0


class HealthState:
    """The event loop writes and the probe thread reads it; every field is one reference, so no read
    is torn."""

    def __init__(self, clock: Clock, *, stale_after_s: float = STALE_AFTER_S) -> None:
        self._clock = clock
        self.stale_after_s = stale_after_s
        self._beat_at = clock.monotonic()
        self._started = False
        self._draining = False
        self._partitions: PartitionCounts | None = None
        self.standing = b'{"level":0,"since_ms":0,"causes":[]}'
        self.status = b""
        self._status_at = clock.monotonic()

    def beat(self) -> None:
        self._beat_at = self._clock.monotonic()

    def mark_started(self) -> None:
        """The process is wired and its broker answered."""
        self._started = True

    def set_partitions(self, counts: PartitionCounts | None) -> None:
        """None while the group gives no assignment."""
        self._partitions = counts

    def set_standing(self, standing: Any) -> None:
        """A `streams.core.degradation.level.Standing` or similar."""
        self.standing = msgspec.json.encode(standing)

    def set_status(self, status: bytes) -> None:
        self.status, self._status_at = status, self._clock.monotonic()

    @property
    def status_age_s(self) -> float:
        """Since the event loop, which may hang, set `status`."""
        return self._clock.monotonic() - self._status_at

    def mark_draining(self) -> None:
        """Irreversible."""
        self._draining = True

    def startup(self) -> ProbeVerdict:
        return ProbeVerdict(self._started, "started" if self._started else "starting")

    def live(self) -> ProbeVerdict:
        age_s = self._clock.monotonic() - self._beat_at
        if age_s > self.stale_after_s:
            return ProbeVerdict(False, f"the event loop has not turned for {age_s:.0f} s")
        return ProbeVerdict(True, "the event loop turns")

    def ready(self) -> ProbeVerdict:
        if not self._started:
            return ProbeVerdict(False, "starting")
        if self._draining:
            return ProbeVerdict(False, "draining")
        counts = self._partitions
        if counts is None:
            return ProbeVerdict(False, "no assignment yet")
        if counts.stopped:
            return ProbeVerdict(False, f"{counts.stopped} partitions stopped: see `dia status`")
        if counts.restoring:
            return ProbeVerdict(False, f"{counts.restoring} partitions restoring")
        return ProbeVerdict(True, f"{counts.ready} partitions ready")


class HealthServer:
    """Serves a `HealthState` and a `Metrics` registry until stopped."""

    def __init__(
        self, state: HealthState, metrics: Metrics, clock: Clock, listener: socket.socket
    ) -> None:
        """``listener`` is a bound socket; `stop` closes it."""
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._listener = listener
        self._written: bytes | None = None
        self._written_s = 0.0
        self._thread: threading.Thread | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._serving: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def start(self) -> int:
        """Also start the heartbeat of the calling loop. Returns the bound port."""
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(self._serving)
        port = address_of(self._listener)[1]
        self._heartbeat = asyncio.create_task(self._beat(), name="heartbeat")
        return port

    async def stop(self) -> None:
        """Also after a failed or missing `start`."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)
        if self._thread is None:
            self._listener.close()
            return
        if self._serving.exception(STOP_TIMEOUT_S) is None:
            loop, stopping = self._serving.result()
            loop.call_soon_threadsafe(stopping.set)
        await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    async def _beat(self) -> None:
        while True:
            self._state.beat()
            self._metrics.loop_heartbeat.set(self._clock.now_ms() / 1000)
            await self._clock.sleep(HEARTBEAT_INTERVAL_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._serving.done():
                raise
            self._serving.set_exception(error)

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        runner = web.AppRunner(self._routes(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, self._listener).start()
            self._serving.set_result((asyncio.get_running_loop(), stopping))
            await stopping.wait()
        finally:
            await runner.cleanup()

    def _text(self) -> bytes:
        now_s = self._clock.monotonic()
        if self._written is None or now_s - self._written_s >= METRICS_AGE_S:
            self._written, self._written_s = generate_latest(self._metrics.registry), now_s
        return self._written

    def _routes(self) -> web.Application:
        probes = {
            "/startupz": self._state.startup,
            "/livez": self._state.live,
            "/readyz": self._state.ready,
        }

        async def probe(request: web.Request) -> web.Response:
            verdict = probes[request.path]()
            body = {"ok": verdict.ok, "reason": verdict.reason}
            return web.json_response(body, status=200 if verdict.ok else 503)

        async def degradation(request: web.Request) -> web.Response:
            return web.Response(body=self._state.standing, content_type="application/json")

        async def status(request: web.Request) -> web.Response:
            if not self._state.status:
                raise web.HTTPNotFound
            age = {"Age": f"{self._state.status_age_s:.0f}"}
            body = self._state.status
            return web.Response(body=body, content_type="application/json", headers=age)

        async def metrics(request: web.Request) -> web.Response:
            return web.Response(body=self._text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

        pace = AnswerPace(self._clock, per_s=PER_S, burst=BURST, waiting_max=WAITING_MAX)

        @web.middleware
        async def paced(request: web.Request, handler: Handler) -> web.StreamResponse:
            if await pace.turn(request.remote or ""):
                return await handler(request)
            return web.Response(status=429, headers={"Retry-After": "1", "Connection": "close"})

        app = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[paced])
        app.add_routes([web.get(path, probe) for path in probes])
        app.add_routes([web.get("/degradation", degradation), web.get("/status", status)])
        app.add_routes([web.get("/metrics", metrics)])
        return app
