"""One event traced through real services: client, edge, Kafka, worker and ClickHouse, by the spans
that an OTLP collector receives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from agents.app import AGGREGATE_METRICS
from agents.app import app as built_in
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.context import TraceContext
from streams.core.tracing.opening import tracer_of
from streams.engine.runtime.worker import Worker
from streams.engine.state.rocksdb import RocksFolder
from streams.http.edge.serving import EdgeProcess
from tests.empty_topics import empty_topics

DATABASE = "traced"
CALLER = TraceContext(0xFEED, 0xBEEF, sampled=True)
PATIENT_S = 200.0


class Collector:
    """An OTLP collector; it keeps the exported spans, decoded."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []

        class Take(BaseHTTPRequestHandler):
            def do_POST(inner) -> None:  # noqa: N805 - http.server's name for it
                body = inner.rfile.read(int(inner.headers["Content-Length"]))
                self._take(inner.path, body)
                inner.send_response(200)
                inner.send_header("Content-Length", "0")
                inner.end_headers()

            def log_message(inner, *args) -> None:  # noqa: N805 - as above
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, path: str, body: bytes) -> None:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.name"], span) for span in scope.spans]

    def named(self, name: str) -> list[Span]:
        return [span for _, span in self.spans if span.name == name]

    def service_of(self, name: str) -> set[str]:
        return {service for service, span in self.spans if span.name == name}

    def linked(self, name: str, origin: Span) -> list[Span]:
        return [
            span
            for span in self.named(name)
            if (origin.trace_id, origin.span_id) in [(o.trace_id, o.span_id) for o in span.links]
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.close()


@pytest.fixture
def settings(stack, collector, tmp_path) -> Iterator[Settings]:
    """The session's stack, a database of its own, and the collector."""
    made = Settings(
        home=str(tmp_path),
        kafka_bootstrap=stack.kafka_bootstrap,
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=stack.clickhouse_password_file,
        clickhouse_database=DATABASE,
        commit_interval_s=0.2,
        session_timeout_s=6.0,
        otel_endpoint=collector.address,
        otel_sample_ratio=0.0,
    )
    servers = schema.servers(made, built_in.clickhouse_tables)
    for server in servers:
        server.migrator.apply()
    yield made
    for server in servers:
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


@asynccontextmanager
async def _pipeline(settings: Settings):
    """An edge and a worker, each with its own tracer."""
    clock = SystemClock()
    broker = KafkaBroker.from_settings(settings)
    await empty_topics(broker)
    tracers = [
        tracer_of(settings, service, clock, Metrics()) for service in ("dia-edge", "dia-worker")
    ]
    edge = EdgeProcess(settings, built_in.topology, broker, clock, Metrics(), tracers[0])
    worker = Worker(
        agents=(AGGREGATE_METRICS,),
        broker=broker,
        shards=ClickHouseShards.from_settings(settings, clock, built_in.clickhouse_tables),
        stores=lambda group: RocksFolder(settings.state_path(), group),
        clock=clock,
        settings=settings,
        metrics=Metrics(),
        instance_id="traced",
        tracer=tracers[1],
    )
    app = edge.app()
    running = asyncio.create_task(worker.run(lambda: None))
    try:
        async with app.router.lifespan_context(app):
            yield httpx.ASGITransport(app)
    finally:
        await worker.abandon()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        edge.close()
        for tracer in tracers:
            await asyncio.to_thread(tracer.close, 10.0)


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENT_S):
        while not reached():  # noqa: ASYNC110 - neither a shard nor a collector tells us
            await asyncio.sleep(0.1)


def _counted(settings: Settings) -> dict[str, int]:
    """Events of each model, over both shards."""
    found: dict[str, int] = {}
    for server in schema.servers(replace(settings), built_in.clickhouse_tables):
        for model, count in server.replica.query(
            "SELECT model, sum(n) FROM m1_local FINAL GROUP BY 1"
        )[1]:
            found[model] = found.get(model, 0) + int(count)
        server.replica.close()
    return found


async def test_one_event_is_traced_from_its_client_to_its_row(settings, collector):
    """Using only the collector's spans; an unsampled event beside it leaves no span."""
    _, token = TokenFile.of(settings.home_path()).create(
        tenant="acme", role=Role.OPERATE, now_ms=SystemClock().now_ms()
    )
    async with _pipeline(settings) as transport:
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
            for model, headers in (
                ("followed", {"traceparent": CALLER.header.decode()}),
                ("alone", {}),
            ):
                event = {
                    "tenant_id": "acme",
                    "model_id": model,
                    "metric": "x",
                    "ts": SystemClock().now_ms(),
                    "value": 1.0,
                }
                answer = await http.post(
                    "/v1/events/model.metrics",
                    json=event,
                    headers={"Authorization": f"Bearer {token}", **headers},
                )
                assert answer.status_code == 202, answer.text
        await _until(lambda: _counted(settings) == {"followed": 1, "alone": 1})
    (taken,) = collector.named("take model.metrics")
    assert taken.trace_id == CALLER.trace_id.to_bytes(16, "big")
    assert taken.parent_span_id == CALLER.span_id.to_bytes(8, "big")
    (sent,) = collector.linked("send model.metrics", taken)
    (processed,) = collector.linked("process model.metrics", taken)
    assert sent.end_time_unix_nano >= taken.start_time_unix_nano
    assert collector.service_of("take model.metrics") == {"dia-edge"}
    assert collector.service_of("process model.metrics") == {"dia-worker"}
    steps = [span.name for _, span in collector.spans if span.parent_span_id == processed.span_id]
    assert steps == ["C1 fold", "C2 send", "C3 commit", "C4 store"]
    inserts = collector.linked("insert m1", processed)
    assert inserts
    assert len({one.key for one in inserts[0].attributes} & {"dia.shard", "db.system.name"}) == 2
