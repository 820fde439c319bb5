"""TLS of one connection, with a bounded and counted handshake.

asyncio gives a transport to its protocol only after the handshake, of up to a minute. Here the
connection is accepted in plain text, counted, and then upgraded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from streams.connect.access.bounded_protocol import HEAD_TIMEOUT_S, Refused
from streams.connect.access.connections import Connections

SHUTDOWN_TIMEOUT_S: Final = 5.0


class TlsHandshake(asyncio.Protocol):
    """Passes the connection to the protocol of ``inner`` after the handshake."""

    def __init__(
        self,
        context: ssl.SSLContext,
        inner: Callable[[], asyncio.Protocol],
        connections: Connections,
        refused: Refused,
    ) -> None:
        self._context = context
        self._inner = inner
        self._connections = connections
        self._refused = refused
        self._early = bytearray()
        """bytes received with the end of the handshake"""
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host = (transport.get_extra_info("peername") or ("",))[0]
        if not self._connections.admit(host, self):
            self._refused("crowded")
            transport.abort()
            return
        # `start_tls` must receive the handshake bytes, so nothing may read them before.
        transport.pause_reading()
        self._opening = asyncio.get_running_loop().create_task(self._open(transport))

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)

    def make_room(self) -> None:
        self._refused("crowded")
        assert self._transport is not None
        self._transport.abort()

    async def _open(self, transport: asyncio.Transport) -> None:
        try:
            encrypted = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=HEAD_TIMEOUT_S,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            )
        except (OSError, asyncio.CancelledError):
            self._refused("no_handshake")
            transport.abort()
            return
        finally:
            self._connections.leave(self)
        if encrypted is None or encrypted.is_closing():
            return
        protocol = self._inner()
        encrypted.set_protocol(protocol)
        protocol.connection_made(encrypted)
        if self._early:
            protocol.data_received(bytes(self._early))
            self._early.clear()
