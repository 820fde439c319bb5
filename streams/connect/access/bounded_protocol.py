"""HTTP/1.1 on one connection, with the bounds that uvicorn's httptools protocol lacks.

Headers need no token, so their size, number and duration are bounded before a request reaches the
application. uvicorn's h11 protocol bounds the size only and costs 139 µs of CPU per request,
against 30 µs here.

- **idle**: `HEAD_TIMEOUT_S` from the connection, or uvicorn's keep-alive time from the last
response.
- **head**: `HEAD_TIMEOUT_S` from the connection, or from the first byte of a later request;
  `HEAD_BYTES_MAX` and `HEADERS_MAX`.
- **body**: the application has its own deadline. `HEAD_BYTES_MAX` of chunk extensions and trailers,
  which are dropped: as headers they would bypass the checks of the head (RFC 9110, 6.5.1). After
  the response the client has `LINGER_S` for the rest.

In each phase a client must read `PROGRESS_BYTES` of pending output within `STALL_S`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streams.connect.access.connections import Connections
from streams.connect.access.problem import MEDIA_TYPE, document

HEAD_BYTES_MAX: Final = 32 << 10
"""of the request line and headers, or of trailers and chunk extensions"""
HEADERS_MAX: Final = 100
PIPELINED_MAX: Final = 8
"""requests that wait for the response to the one before"""
HEAD_TIMEOUT_S: Final = 10.0
LINGER_S: Final = 5.0
STALL_S: Final = 30.0
PROGRESS_BYTES: Final = 16 << 10
PIECE_BYTES: Final = 16 << 10
"""Per call of the parser; its memory exceeds a bound by at most this."""
BODY_PIECE_BYTES: Final = 64 << 10
"""within a body, which the parser does not buffer"""

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]{1,255}")

Refused = Callable[[str], None]
"""counts a refused connection or request, by reason"""


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class _Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """Raised through the parser."""

    def __init__(self, status: HTTPStatus, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason


class _ClosedOnce:
    """uvicorn may close twice; asyncio's TLS transport drops its connection and pending output at
    the second call, and later ones raise `AttributeError`."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()


class BoundedProtocol(HttpToolsProtocol):
    """``connections`` is the count of the process. ``refused`` receives the reason of each refusal:
    crowded, malformed, head_too_large, head_late, reads_nothing."""

    parser: Any

    def __init__(self, *, connections: Connections, refused: Refused, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._connections = connections
        self._refused = refused
        self._phase = _Phase.IDLE
        self._head_bytes = 0
        self._headers = 0
        self._fed_bytes = 0
        """since the parser last returned a part of a body or began a message"""
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        self._refusal: _Refusal | None = None
        """raised through the parser, which replaces it by its own error"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _ClosedOnce(transport)))
        host = self.client[0] if self.client else ""
        if not self._connections.admit(host, self):
            self._refuse(
                _Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "crowded",
                    "too many connections; try again later",
                )
            )
            return
        self._arm(HEAD_TIMEOUT_S, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)
        self._disarm()
        self._read_again()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def make_room(self) -> None:
        self._refused("crowded")
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        left = memoryview(data)
        while left and not self.transport.is_closing():
            size = BODY_PIECE_BYTES if self._phase is _Phase.BODY else PIECE_BYTES
            self._feed(left[:size])
            left = left[size:]

    def _feed(self, piece: memoryview) -> None:
        self._fed_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
            if self._fed_bytes > HEAD_BYTES_MAX:
                self._refuse(_too_large())
        except httptools.HttpParserUpgrade:
            # Protocol upgrades are not supported; the request is handled as any other.
            if self.cycle is not None:
                self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse(self._refusal or _malformed(str(error)))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._phase = _Phase.HEAD
        self._head_bytes = self._headers = self._fed_bytes = 0
        if self._deadline is None:
            self._arm(HEAD_TIMEOUT_S, self._head_late)

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        self._check_head()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        self._headers += 1
        self._check_head()
        if self._phase is _Phase.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise self._stopped(_malformed(f"HTTP/{version} is not spoken here"))
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version != "1.0"):
            raise self._stopped(_malformed("a request names one Host"))
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise self._stopped(_malformed("the Host is no host"))
        if len(self.pipeline) >= PIPELINED_MAX:
            detail = f"at most {PIPELINED_MAX} requests may wait for answers"
            raise self._stopped(_malformed(detail))
        self._disarm()
        self._phase = _Phase.BODY
        self._head_bytes = self._headers = self._fed_bytes = 0
        self._connections.answering(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._fed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = _Phase.IDLE
        super().on_message_complete()
        if self.cycle.response_complete:
            self._answered()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif not self.pipeline and self.cycle.response_complete:
            self._answered()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._read_again()

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _answered(self) -> None:
        if self._phase is _Phase.BODY:
            self._unset_keepalive_if_required()
            self._arm(LINGER_S, self._close)
            return
        self._connections.waiting(self)
        if self._phase is _Phase.HEAD:
            # The next request has begun and has its deadline.
            self._unset_keepalive_if_required()
            return
        self._disarm()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _check_head(self) -> None:
        if self._head_bytes > HEAD_BYTES_MAX or self._headers > HEADERS_MAX:
            raise self._stopped(_too_large())

    def _stopped(self, refusal: _Refusal) -> _Refusal:
        self._refusal = refusal
        return refusal

    def _head_late(self) -> None:
        if self._phase is _Phase.HEAD:
            detail = f"the headers did not arrive within {HEAD_TIMEOUT_S:g} s"
            self._refuse(_Refusal(HTTPStatus.REQUEST_TIMEOUT, "head_late", detail))
        else:
            self._refused("head_late")
            self._close()

    def _refuse(self, refusal: _Refusal) -> None:
        self._refused(refusal.reason)
        if self.cycle is None or self.cycle.response_complete:
            body = document(refusal.status, refusal.reason, str(refusal))
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s"
                % (
                    *(refusal.status, refusal.status.phrase.encode(), MEDIA_TYPE.encode()),
                    *(len(body), body),
                )
            )
        self._close()

    def _close(self) -> None:
        """Flush pending output to a client that reads, then close."""
        self._disarm()
        self.transport.close()
        self._watch_reading()

    def _watch_reading(self) -> None:
        """Until `_read_again` or the end of the connection."""
        self._read_again()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALL_S, self._judge_reading)

    def _judge_reading(self) -> None:
        if self.transport.get_write_buffer_size() > self._unread_bytes - PROGRESS_BYTES:
            self._refused("reads_nothing")
            self.transport.abort()
        else:
            self._watch_reading()

    def _read_again(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _arm(self, delay_s: float, then: Callable[[], None]) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(delay_s, then)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _too_large() -> _Refusal:
    return _Refusal(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "head_too_large",
        f"headers take at most {HEAD_BYTES_MAX} bytes, and there are at most {HEADERS_MAX}",
    )


def _malformed(detail: str) -> _Refusal:
    return _Refusal(HTTPStatus.BAD_REQUEST, "malformed", detail)
