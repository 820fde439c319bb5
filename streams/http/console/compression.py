"""Compresses responses with gzip, once for all clients.

Bodies are cached by ETag, a hash of the body, and length: no tenant can receive another's. Streams
are not compressed: they are small and must leave at once."""

from __future__ import annotations

import gzip
from typing import Final

from cachetools import LRUCache
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FROM_BYTES: Final = 1024
KEPT_BYTES: Final = 16 << 20
_LEVEL = 5
_OVERHEAD_BYTES = 300


class Compression:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._packed: LRUCache[tuple[str, int], bytes] = LRUCache(
            KEPT_BYTES, getsizeof=lambda packed: len(packed) + _OVERHEAD_BYTES
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                # held until the body is known: it names the length
                start = message
                return
            if start is not None:
                first, start = start, None
                message = self._packed_answer(first, message)
                await send(first)
            await send(message)

        await self._app(scope, receive, sending)

    def _packed_answer(self, start: Message, message: Message) -> Message:
        """Updates ``start``."""
        body: bytes = message.get("body", b"")
        headers = MutableHeaders(raw=start["headers"])
        whole = not message.get("more_body", False) and len(body) >= FROM_BYTES
        if not whole or "content-encoding" in headers:
            return message
        packed = self._pack(headers.get("etag"), body)
        headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(packed))
        headers.add_vary_header("Accept-Encoding")
        return {**message, "body": packed}

    def _pack(self, etag: str | None, body: bytes) -> bytes:
        if etag is None:
            return gzip.compress(body, _LEVEL, mtime=0)
        key = (etag, len(body))
        packed = self._packed.get(key)
        if packed is None:
            packed = gzip.compress(body, _LEVEL, mtime=0)
            if len(packed) + _OVERHEAD_BYTES <= KEPT_BYTES:
                self._packed[key] = packed
        return packed
