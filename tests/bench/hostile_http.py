"""How long a tenant waits for an edge and a console while a hostile client attacks them.

``python tests/bench/hostile_http.py [--seconds 5] [--attack NAME]`` serves both over an in-memory
broker in one process, attacks from a second one, and from a third posts an event and reads dead
letters every 20 ms. Prints, for each attack, the 95th percentile of both calm and under attack,
their ratio, and how many of the tenant's requests were refused. The target is a ratio of at most 2
and no refusal.

Loopback only. The attacks' request rates are bounded; their connection rates are not: a client
opens as many as the server accepts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import resource
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from agents.app import app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.access.web_server import WebServer
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.process.listener import bound
from streams.core.settings import Settings
from streams.core.telemetry.logs import configure
from streams.core.telemetry.metrics import Metrics
from streams.http.console.serving import ConsoleProcess
from streams.http.edge.serving import EdgeProcess
from streams.operate.topics.topics import wanted_topics

EVERY_S = 0.02
LEAD_S = 2.0
"""Seconds for an attack to start before the measurement."""
METRICS = "/v1/events/model.metrics"
LINES = {"Content-Type": "application/x-ndjson"}
VICTIM, HOSTILE = "victim", "hostile"


def serve(home: Path, ready: Connection) -> None:
    """Serve both on one event loop, with the logs of a server, until the parent ends the process."""
    configure()
    asyncio.run(_serve(home, ready))


async def _serve(home: Path, ready: Connection) -> None:
    _open_many_files()
    clock, broker = SystemClock(), MemoryBroker(SystemClock())
    await (await broker.admin()).create_topics(wanted_topics(app.topology))
    # The victim may ask without a quota: the attack is measured, not the victim's own limit.
    settings = Settings(home=str(home), edge_requests=100_000)
    urls: list[str] = []

    def listens(url: str) -> None:
        urls.append(url)
        if len(urls) == 2:
            ready.send(sorted(urls, key=lambda one: one != edge_url()))

    def edge_url() -> str:
        host, port = listeners[0].getsockname()[:2]
        return f"http://{host}:{port}"

    listeners = [bound("127.0.0.1", 0, "a port") for _ in range(2)]
    apps = (
        EdgeProcess(settings, app.topology, broker, clock, Metrics()).app(),
        ConsoleProcess(settings, app, broker, clock, Metrics()).app(),
    )
    servers = [WebServer(made, at) for made, at in zip(apps, listeners, strict=True)]
    for server in servers:
        server.on_listening = listens
    await asyncio.gather(*(server.run_until_stopped() for server in servers))


async def watch(urls: list[str], token: str, seconds: float) -> dict[str, Any]:
    """The victim's view: response times in seconds by surface, and the number of refusals."""
    seen: dict[str, list[float]] = {"edge": [], "console": []}
    refused = 0
    # Each request uses a new connection: an attack on connections shows only there.
    headers = {"Authorization": f"Bearer {token}", "Connection": "close"}
    async with (
        httpx.AsyncClient(base_url=urls[0], headers=headers, timeout=10) as edge,
        httpx.AsyncClient(base_url=urls[1], headers=headers, timeout=10) as console,
    ):
        ends_s, number = time.monotonic() + seconds, 0
        while time.monotonic() < ends_s:
            number += 1
            event = {
                "tenant_id": VICTIM, "model_id": "m", "metric": "x", "event_id": f"e{number}",
                "ts": round(time.time() * 1000), "value": 1.0,
            }  # fmt: skip
            asked = {
                "edge": edge.post(METRICS, content=json.dumps(event).encode(), headers=LINES),
                "console": console.get("/api/dlq/letters"),
            }
            for surface, request in asked.items():
                began_s = time.monotonic()
                try:
                    answer = await request
                except httpx.HTTPError:
                    refused += 1
                else:
                    refused += answer.status_code not in (200, 202)
                    seen[surface].append(time.monotonic() - began_s)
            await asyncio.sleep(EVERY_S)
    p95 = {name: _p95(found) for name, found in seen.items()}
    return {**p95, "refused": refused, "asked": 2 * number}


def _p95(found: list[float]) -> float:
    return statistics.quantiles(found, n=20)[-1] if len(found) > 1 else float("inf")


Attack = Callable[[list[str], dict[str, str]], Awaitable[None]]


def _connect(url: str, sent: bytes) -> socket.socket:
    parts = urlsplit(url)
    made = socket.create_connection((parts.hostname, parts.port), timeout=2)
    made.sendall(sent)
    return made


async def idle(urls: list[str], tokens: dict[str, str]) -> None:
    """1,000 silent connections to each, and 100 new ones a second."""
    await _held(urls, b"")


async def half(urls: list[str], tokens: dict[str, str]) -> None:
    """1,000 connections to each with half a request head, and 100 new ones a second."""
    await _held(urls, b"GET /healthz HTTP/1.1\r\nHo")


async def _held(urls: list[str], sent: bytes) -> None:
    held: list[socket.socket] = []
    while True:
        for url in urls:
            with contextlib.suppress(OSError):
                held.append(_connect(url, sent))
        while len(held) > 2000:
            held.pop(0).close()
            await asyncio.sleep(0.01)


async def headers(urls: list[str], tokens: dict[str, str]) -> None:
    """Endless request heads, four at a time."""

    async def one() -> None:
        parts = urlsplit(urls[0])
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ")
                for _ in range(200):
                    writer.write(b"a" * (64 << 10))
                    await writer.drain()
                writer.close()
            await asyncio.sleep(0.05)

    await asyncio.gather(*(one() for _ in range(4)))


async def slow_bodies(urls: list[str], tokens: dict[str, str]) -> None:
    """64 uploads that send one byte."""
    head = (
        f"POST {METRICS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens['operate']}\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n"
    )
    held = [_connect(urls[0], head.encode()) for _ in range(64)]
    await asyncio.sleep(3600)
    del held


async def _asked(request: Callable[[httpx.AsyncClient, int], Awaitable[Any]], per_s: float) -> None:
    """A bounded rate of requests, eight at a time."""

    async def one(client: httpx.AsyncClient) -> None:
        number = 0
        while True:
            number += 1
            with contextlib.suppress(httpx.HTTPError):
                await request(client, number)
            await asyncio.sleep(8 / per_s)

    async with httpx.AsyncClient(timeout=5) as client:
        await asyncio.gather(*(one(client) for _ in range(8)))


async def garbage(urls: list[str], tokens: dict[str, str]) -> None:
    """20 kB bodies of 10,000 bad events, 20 times a second."""
    sent = {**LINES, "Authorization": f"Bearer {tokens['operate']}"}
    await _asked(
        lambda client, _: client.post(urls[0] + METRICS, content=b"1\n" * 10_000, headers=sent), 20
    )


async def wrong_tokens(urls: list[str], tokens: dict[str, str]) -> None:
    """200 requests a second with an unknown token."""
    wrong = {"Authorization": "Bearer dia_00000000_" + "x" * 43}
    await _asked(lambda client, _: client.get(urls[0] + "/v1/simulations/k", headers=wrong), 200)


async def sign_ins(urls: list[str], tokens: dict[str, str]) -> None:
    """200 sign-ins a second with a token that may read."""
    given = {"token": tokens["read"]}
    await _asked(lambda client, _: client.post(urls[1] + "/session", json=given), 200)


async def readings(urls: list[str], tokens: dict[str, str]) -> None:
    """100 lists of dead letters a second, each with a different query."""
    sent = {"Authorization": f"Bearer {tokens['read']}"}
    await _asked(
        lambda client, number: client.get(
            f"{urls[1]}/api/dlq/letters?limit={number % 400 + 1}", headers=sent
        ),
        100,
    )


ATTACKS: dict[str, Attack] = {
    made.__name__: made
    for made in (
        idle, half, headers, slow_bodies, garbage, wrong_tokens, sign_ins, readings,
    )
}  # fmt: skip


def attack(name: str, urls: list[str], tokens: dict[str, str], began: Connection) -> None:
    _open_many_files()
    began.send(True)
    asyncio.run(ATTACKS[name](urls, tokens))


def _open_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))


def measured(name: str, seconds: float, tokens: dict[str, str], victim: str, home: Path) -> None:
    """Measure one attack on its own servers; print a line."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(home, there))
    server.start()
    try:
        urls = here.recv()
        asyncio.run(watch(urls, victim, 1.0))
        calm = asyncio.run(watch(urls, victim, seconds))
        hostile = context.Process(target=attack, args=(name, urls, tokens, there))
        hostile.start()
        try:
            here.recv()
            time.sleep(LEAD_S)
            under = asyncio.run(watch(urls, victim, seconds))
        finally:
            hostile.kill()
            hostile.join()
    finally:
        server.kill()
        server.join()
    figures = " ".join(
        f"{surface} p95 {1000 * calm[surface]:6.1f} -> {1000 * under[surface]:7.1f} ms "
        f"({under[surface] / calm[surface]:4.1f}x)"
        for surface in ("edge", "console")
    )
    print(f"{name:13} {figures}  refused {under['refused']} of {under['asked']}", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--attack", choices=[*ATTACKS], action="append")
    options = parser.parse_args()
    for name in options.attack or ATTACKS:
        with tempfile.TemporaryDirectory() as home:
            file, now_ms = TokenFile.of(Path(home)), SystemClock().now_ms()
            made = {
                (tenant, role.name.lower()): file.create(tenant=tenant, role=role, now_ms=now_ms)[1]
                for tenant in (VICTIM, HOSTILE)
                for role in (Role.READ, Role.OPERATE)
            }
            tokens = {role: made[HOSTILE, role] for role in ("read", "operate")}
            measured(name, options.seconds, tokens, made[VICTIM, "operate"], Path(home))


if __name__ == "__main__":
    main()
