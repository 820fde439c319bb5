"""A reply written from an engine thread while the loop serves others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from streams.dev.local.clickhouse_front.compression import compressor
from streams.dev.local.clickhouse_front.engine import Summary
from streams.dev.local.clickhouse_front.errors import StatementFailed, exception_block

WRITE_TIMEOUT_S = 60.0
"""a client that reads nothing for this long loses its reply"""
_COMPRESS_FROM_BYTES = 256


class StreamedReply:
    """Headers are sent with the first chunk, so an earlier error has its status."""

    def __init__(self, request: web.Request, headers: dict[str, str], encoding: str | None) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._tag = secrets.token_hex(8)
        self._compressor = compressor(encoding) if encoding else None
        self._response = web.StreamResponse(
            headers={**headers, "X-ClickHouse-Exception-Tag": self._tag}
        )
        if encoding:
            self._response.headers["Content-Encoding"] = encoding
        self.started = False

    @property
    def response(self) -> web.StreamResponse:
        return self._response

    def write(self, chunk: bytes) -> None:
        """Called from an engine thread; waits while the client's buffer is full."""
        if not self.started:
            self.started = True
            self._on_loop(self._response.prepare(self._request))
        self._send(self._compressor.compress(chunk) if self._compressor else chunk)

    def finish(self) -> None:
        """From an engine thread."""
        if self._compressor:
            self._send(self._compressor.flush())
        self._on_loop(self._response.write_eof())

    async def break_off(self, failed: StatementFailed, version: str) -> None:
        """End a started reply with the error's block, then cut the connection: an unterminated body
        is not taken for complete."""
        block = exception_block(self._tag, f"{failed} (version {version})")
        if self._compressor:
            block = self._compressor.compress(block) + self._compressor.flush()
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(self._response.write(block), WRITE_TIMEOUT_S)
        if self._request.transport is not None:
            self._request.transport.close()

    def _send(self, data: bytes) -> None:
        if data:
            self._on_loop(self._response.write(data))

    def _on_loop(self, step: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(WRITE_TIMEOUT_S)


def whole(body: bytes, headers: dict[str, str], encoding: str | None) -> web.Response:
    """Compressed if worthwhile. Blocks while it compresses."""
    if encoding and len(body) > _COMPRESS_FROM_BYTES:
        packer = compressor(encoding)
        body = packer.compress(body) + packer.flush()
        headers = {**headers, "Content-Encoding": encoding}
    return web.Response(body=body, headers=headers)


def summary_header(summary: Summary) -> str:
    """Every number as a string, as from the server."""
    return json.dumps(
        {
            "read_rows": str(summary.read_rows),
            "read_bytes": str(summary.read_bytes),
            "written_rows": str(summary.written_rows),
            "written_bytes": str(summary.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": "0",
            "result_bytes": "0",
            "elapsed_ns": str(summary.elapsed_ns),
        }
    )
