"""TCP forwarders in front of every broker of a local cluster; a test can cut their connections.

A broker advertises the port of its forwarder, so other brokers and clients connect there. The
forwarder determines which process opened a connection. While a pair is cut, it holds back the bytes
in both directions, as a network that drops packets does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil

from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import StackPlan
from streams.dev.local.ports import LOOPBACK
from streams.dev.local.status import live_roster

CLIENTS = "clients"
"""The source of every connection that no broker opened."""
_CHUNK_BYTES = 1 << 16
_CALL_S = 10.0


class BrokerLinks:
    """Forwarders for the brokers of ``folder``, in their own thread.

    `advertise` puts the forwarders into a plan; inside the context they listen.
    """

    def __init__(self, folder: StackFolder, brokers: int) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []
        self._upstreams: dict[int, tuple[str, int]] = {}
        """forwarded port to the broker's name and port"""
        self._open: dict[tuple[str, str], asyncio.Event] = {}
        """Per (source, target); set while bytes may pass."""
        self._pumps: set[asyncio.Task[None]] = set()
        self._brokers = brokers

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_S)
        self._loop.close()

    def advertise(self, plan: StackPlan) -> StackPlan:
        """``plan`` with the forwarders before its brokers."""
        ports = iter([server.sockets[0].getsockname()[1] for server in self._servers])
        brokers = tuple(
            msgspec.structs.replace(
                broker, forwarded_port=next(ports), forwarded_controller_port=next(ports)
            )
            for broker in plan.brokers
        )
        for name, broker in zip(plan.broker_names, brokers, strict=True):
            self._upstreams[broker.forwarded_port] = (name, broker.port)
            self._upstreams[broker.forwarded_controller_port] = (name, broker.controller_port)
        return msgspec.structs.replace(plan, brokers=brokers)

    @contextmanager
    def cut(self, *pairs: tuple[str, str]) -> Iterator[None]:
        """Inside, no byte passes between the two ends of each (source, target)."""
        self._set(pairs, passing=False)
        try:
            yield
        finally:
            self._set(pairs, passing=True)

    def _set(self, pairs: tuple[tuple[str, str], ...], *, passing: bool) -> None:
        async def change() -> None:
            for pair in pairs:
                event = self._event(pair)
                if passing:
                    event.set()
                else:
                    event.clear()

        self._call(change())

    def _event(self, pair: tuple[str, str]) -> asyncio.Event:
        if pair not in self._open:
            self._open[pair] = asyncio.Event()
            self._open[pair].set()
        return self._open[pair]

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_S)

    async def _listen(self) -> None:
        for _ in range(2 * self._brokers):
            self._servers.append(await asyncio.start_server(self._accept, LOOPBACK, 0))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._forward(reader, writer)
        except asyncio.CancelledError:
            pass  # the context ends; a cancelled handler would be reported as an error
        finally:
            self._pumps.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target, port = self._upstreams[writer.get_extra_info("sockname")[1]]
        passing = self._event((self._source(writer.get_extra_info("peername")[1]), target))
        await passing.wait()
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(LOOPBACK, port)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pump(reader, back, passing))
                    group.create_task(_pump(there, writer, passing))
            except* (_Ended, OSError):
                pass
            finally:
                back.close()

    def _source(self, port: int) -> str:
        """The broker whose process opened the connection from this port, else `CLIENTS`."""
        owners = {
            found.pid
            for found in psutil.net_connections("tcp4")
            if found.laddr and found.laddr.port == port
        }
        return next((n for n, pid in self._pids().items() if pid in owners), CLIENTS)

    def _pids(self) -> Mapping[str, int]:
        roster = live_roster(self._folder)
        entries = roster.entries if roster is not None else ()
        return {
            entry.name: entry.process.pid
            for entry in entries
            if entry.process is not None and entry.name.startswith("kafka")
        }


class _Ended(Exception):  # noqa: N818 - ends the opposite direction too
    """One side closed the connection."""


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: asyncio.Event
) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        await passing.wait()
        writer.write(chunk)
        await writer.drain()
    raise _Ended
