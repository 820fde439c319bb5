"""Workers on other hosts, found through their metrics ports.

A name may have several, changing addresses (a headless Service), so it is resolved repeatedly.
Hosts that do not answer, or run no worker, are skipped."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, NamedTuple

import httpx
import msgspec
import structlog

from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.process.proxies import DIRECT
from streams.engine.health.live_workers import LiveWorker

log = structlog.get_logger(__name__)

LOOK_S: Final = 2.0
WORKERS_MAX: Final = 256
_ANSWER_S: Final = 2.0
_PORT_MAX: Final = 65_535


class RemoteWorker(LiveWorker, frozen=True, kw_only=True):
    """``host`` is the worker's own name of its host; ``address`` is the one it answered on."""

    host: str = ""
    address: str = ""


_decode = msgspec.json.Decoder(RemoteWorker).decode


class _Port(NamedTuple):
    host: str
    port: int


class RemoteWorkers:
    """``live`` are the workers of the last scan."""

    def __init__(self, addresses: str, clock: Clock) -> None:
        """Raises `UsageError` unless it is a list of host:port."""
        self.live: list[RemoteWorker] = []
        self._named = [_port(one.strip()) for one in addresses.split(",") if one.strip()]
        self._clock = clock

    async def run(self) -> None:
        """Scan repeatedly until cancelled."""
        if not self._named:
            return
        async with httpx.AsyncClient(timeout=_ANSWER_S, mounts=DIRECT) as http:
            while True:
                self.live = await self.look(http)
                await self._clock.sleep(LOOK_S)

    async def look(self, http: httpx.AsyncClient) -> list[RemoteWorker]:
        """Every worker that answers, by name."""
        places = sorted({at for named in self._named for at in await _addresses(named)})
        if len(places) > WORKERS_MAX:
            log.warning("workers_beyond_bound", found=len(places), asked=WORKERS_MAX)
        told = await asyncio.gather(*(_told(http, at) for at in places[:WORKERS_MAX]))
        return sorted((one for one in told if one is not None), key=lambda one: str(one.slot))


def _port(text: str) -> _Port:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isdecimal() and 0 < int(port) <= _PORT_MAX):
        raise UsageError(
            f"DIA_WORKERS_AT names {text!r}, which is no host:port. In the chart and in Compose it "
            "is the name of the workers' service and port 9464."
        )
    return _Port(host, int(port))


async def _addresses(named: _Port) -> list[_Port]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(*named, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        log.info("worker_host_unresolved", host=named.host, why=str(error))
        return []
    return [_Port(str(address[0]), named.port) for *_, address in found]


async def _told(http: httpx.AsyncClient, at: _Port) -> RemoteWorker | None:
    address = f"[{at.host}]" if ":" in at.host else at.host
    try:
        answer = await http.get(f"http://{address}:{at.port}/status")
        if answer.status_code != httpx.codes.OK:
            return None  # an edge or a console behind the same name
        told = _decode(answer.content)
        silent_s = float(answer.headers.get("Age", 0))
    except (httpx.HTTPError, msgspec.MsgspecError, ValueError) as error:
        log.info("worker_unreachable", address=address, why=str(error))
        return None
    name = f"{told.host}/{told.slot}"
    place = {"slot": name, "address": address, "http_port": at.port}
    return msgspec.structs.replace(told, **place, silent_s=silent_s)
