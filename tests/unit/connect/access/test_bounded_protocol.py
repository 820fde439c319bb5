"""One connection, fed byte by byte: which requests reach the application, and when it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from streams.connect.access import bounded_protocol
from streams.connect.access.bounded_protocol import (
    HEAD_BYTES_MAX,
    HEAD_TIMEOUT_S,
    HEADERS_MAX,
    LINGER_S,
    PIECE_BYTES,
    PIPELINED_MAX,
    STALL_S,
    BoundedProtocol,
)
from streams.connect.access.connections import Connections

GET = b"GET /x HTTP/1.1\r\nHost: edge\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n"


class Pipe(asyncio.Transport):
    """The bytes that the client can see, and those it has not read yet."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 80)})
        self.written = b""
        self.unread_bytes = 0
        self.closed = self.aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Timers:
    """A loop whose timers fire when the test advances time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now_s = 0.0
        self._due: list[tuple[float, asyncio.Handle]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay_s: float, call: Any, *given: Any) -> asyncio.Handle:
        handle = asyncio.Handle(call, given, self._loop)
        self._due.append((self.now_s + delay_s, handle))
        return handle

    def pass_s(self, seconds: float) -> None:
        ends_s = self.now_s + seconds
        while due := [one for one in self._due if one[0] <= ends_s and not one[1].cancelled()]:
            first = min(due, key=lambda one: one[0])
            self._due.remove(first)
            self.now_s = first[0]
            first[1]._run()
        self.now_s = ends_s


class Served:
    """A connection to an application that records its requests and answers 200 when they are
    complete.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[list[tuple[bytes, bytes]], bytes]] = []
        self.refused: list[str] = []
        self.connections = Connections(total_max=10, address_max=5)
        self.reads_body = True
        self.released = asyncio.Event()
        self.released.set()
        config = uvicorn.Config(
            self._app, interface="asgi3", proxy_headers=False, log_config=None, ws="none"
        )
        config.load()
        self.timers = Timers(asyncio.get_running_loop())
        self.protocol = BoundedProtocol(
            connections=self.connections,
            refused=self.refused.append,
            config=config,
            server_state=ServerState(),
            app_state={},
            _loop=self.timers,
        )
        self.pipe = Pipe()
        self.protocol.connection_made(self.pipe)

    async def _app(self, scope, receive, send) -> None:
        body, more = b"", self.reads_body
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await self.released.wait()
        self.requests.append((scope["headers"], body))
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def sends(self, *parts: bytes) -> None:
        for part in parts:
            if not self.pipe.closed:
                self.protocol.data_received(part)
            for _ in range(5):
                await asyncio.sleep(0)

    @property
    def status(self) -> bytes:
        """The status of the last answer."""
        return self.pipe.written.rpartition(b"HTTP/1.1 ")[2][:3]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    yield made
    made.released.set()
    made.protocol.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_request_is_answered_and_the_connection_stays(served):
    """The bounds do not affect an ordinary client."""
    await served.sends(GET, GET, POST + b"3\r\nabc\r\n0\r\n\r\n")
    assert [body for _, body in served.requests] == [b"", b"", b"abc"]
    assert (served.pipe.closed, served.refused) == (False, [])


async def test_a_request_may_come_byte_by_byte(served):
    """A slow client within the deadline is not refused."""
    await served.sends(*(bytes([byte]) for byte in GET))
    assert served.status == b"200"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nHost: edge\r\nA: " + b"a" * (100 << 20),
        b"GET /" + b"a" * (HEAD_BYTES_MAX + PIECE_BYTES),
        b"GET /x HTTP/1.1\r\nHost: edge\r\n" + b"a" * HEAD_BYTES_MAX * 2,
        b"GET /x HTTP/1.1\r\nHost: edge\r\n" + b"a: b\r\n" * HEADERS_MAX + b"\r\n",
        b"GET /x HTTP/1.1\r\nHost: edge\r\n"
        + b"".join(b"a%d: %s\r\n" % (i, b"b" * 1000) for i in range(40))
        + b"\r\n",
    ],
    ids=["one value", "path", "one name", "many", "many large"],
)
async def test_headers_have_a_bound_before_the_token_is_checked(served, head, monkeypatch):
    """Without a bound, one client takes hundreds of MiB and seconds of CPU before authentication."""
    fed = []
    feed = BoundedProtocol._feed
    monkeypatch.setattr(
        BoundedProtocol, "_feed", lambda self, piece: (fed.append(len(piece)), feed(self, piece))
    )
    await served.sends(head)
    assert served.status == b"431"
    assert (served.pipe.closed, served.requests) == (True, [])
    assert served.refused == ["head_too_large"]
    assert sum(fed) <= HEAD_BYTES_MAX + 2 * PIECE_BYTES


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: \r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /x\r\n\r\n",
        b"GET /x HTTP/0.9\r\n\r\n",
        b"GET /x HTTP/2.0\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ],
)
async def test_a_request_without_a_host_or_of_another_protocol_is_malformed(served, head):
    """A proxy and this server must not parse one request as two (request smuggling)."""
    await served.sends(head)
    assert served.status == b"400"
    assert (served.pipe.closed, served.requests, served.refused) == (True, [], ["malformed"])


HOSTED = b"POST /x HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"Content-Length: 1, 2\r\n\r\na",
        b"Content-Length: +1\r\n\r\na",
        b"Content-Length: -1\r\n\r\na",
        b"Content-Length: 0x1\r\n\r\na",
        b"Content-Length : 1\r\n\r\na",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: y\r\n\x00z: 1\r\n\r\n",
        b"X: y\rHost: b\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1;\x00\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nab0\r\n\r\n",
    ],
)
async def test_a_body_whose_end_can_be_read_in_two_ways_hides_no_request(served, head):
    """The bytes that a proxy takes for a body must not become another tenant's request here."""
    await served.sends(HOSTED + head, GET)
    assert (served.pipe.closed, served.requests, served.refused) == (True, [], ["malformed"])
    assert served.status in {b"400", b""}


async def test_http_1_0_needs_no_host(served):
    """Old health probes send none."""
    await served.sends(b"GET /x HTTP/1.0\r\n\r\n")
    assert served.status == b"200"


async def test_trailers_are_not_headers(served):
    """Otherwise a trailer could add a token to a request after its check, or to the next request."""
    trailer = b"0\r\nAuthorization: Bearer t\r\nX: y\r\n\r\n"
    await served.sends(POST + b"1\r\na\r\n" + trailer, GET + GET)
    await served.sends(POST + b"1\r\na\r\n" + trailer + GET)
    assert len(served.requests) == 5
    for headers, _ in served.requests:
        assert {name for name, _ in headers} <= {b"host", b"transfer-encoding"}


@pytest.mark.parametrize(
    "silent",
    [
        b"1;" + b"a" * (1 << 20),
        b"1\r\na\r\n0\r\nA: " + b"a" * (1 << 20),
        b"1\r\na\r\n0\r\n" + b"A: a\r\n" * 200,
    ],
    ids=["extension", "trailer", "trailers"],
)
async def test_chunk_extensions_and_trailers_have_a_bound_too(served, silent):
    """The parser buffers it until it ends."""
    await served.sends(POST, silent)
    assert served.pipe.closed
    assert served.refused == ["head_too_large"]


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /x HTTP/1.1\r\nHo"])
async def test_headers_have_a_deadline(served, sent):
    """Otherwise a thousand silent connections would stay open."""
    await served.sends(sent)
    served.timers.pass_s(HEAD_TIMEOUT_S / 2)
    await served.sends(sent[-1:])
    assert not served.pipe.closed
    served.timers.pass_s(HEAD_TIMEOUT_S / 2)
    assert served.pipe.closed
    assert served.refused == ["head_late"]


async def test_each_later_request_has_the_deadline_too(served):
    """The first request may be valid. Empty lines between two requests do not keep a connection
    alive.
    """
    await served.sends(GET)
    for _ in range(3):
        served.timers.pass_s(served.protocol.timeout_keep_alive - 1)
        await served.sends(GET)
    served.timers.pass_s(served.protocol.timeout_keep_alive - 1)
    await served.sends(GET[:5])
    served.timers.pass_s(HEAD_TIMEOUT_S)
    assert served.status == b"408"
    assert served.pipe.closed


async def test_headers_that_began_during_an_answer_have_the_deadline_too(served):
    """They have the full deadline: the answer before them neither ends nor renews it."""
    served.released.clear()
    await served.sends(GET, GET[:9])
    served.timers.pass_s(HEAD_TIMEOUT_S / 2)
    served.released.set()
    await served.sends(b"")
    assert len(served.requests) == 1
    served.timers.pass_s(HEAD_TIMEOUT_S / 2 - 0.1)
    assert not served.pipe.closed
    await served.sends(GET[9:])
    assert len(served.requests) == 2
    await served.sends(GET[:9])
    served.timers.pass_s(HEAD_TIMEOUT_S)
    assert served.pipe.closed


async def test_empty_lines_keep_no_connection_alive(served):
    """RFC 9112 lets a server skip empty lines before a request, so they do not count as one."""
    await served.sends(GET)
    for _ in range(2):
        served.timers.pass_s(served.protocol.timeout_keep_alive / 2)
        await served.sends(b"\r\n")
    assert served.pipe.closed


async def test_a_refused_body_has_a_deadline(served):
    """The answer has been sent, but the client goes on sending its body byte by byte."""
    served.reads_body = False
    await served.sends(POST, b"1\r\na\r\n")
    assert served.status == b"200"
    for _ in range(round(LINGER_S)):
        await served.sends(b"1\r\na\r\n")
        served.timers.pass_s(1)
    assert served.pipe.closed


async def test_pipelined_requests_have_a_bound(served):
    """One read of a socket can hold thousands of requests, and each takes memory."""
    served.released.clear()
    await served.sends(GET * 3000)
    assert served.pipe.closed
    assert len(served.protocol.pipeline) <= PIPELINED_MAX


async def test_a_client_that_reads_nothing_is_cut_off(served):
    """The answers stay in memory until the client reads them."""
    await served.sends(GET)
    served.pipe.unread_bytes = 1 << 20
    served.protocol.pause_writing()
    for _ in range(3):
        served.pipe.unread_bytes -= bounded_protocol.PROGRESS_BYTES
        served.timers._due = [one for one in served.timers._due if one[0] > served.timers.now_s]
        served.protocol._unset_keepalive_if_required()
        served.timers.pass_s(STALL_S)
        assert not served.pipe.aborted
    served.timers.pass_s(STALL_S)
    assert served.pipe.aborted
    assert served.refused == ["reads_nothing"]


async def test_a_connection_that_closes_does_not_wait_for_its_client(served):
    """Otherwise a client that does not read the last bytes keeps the connection open."""
    await served.sends(GET)
    served.pipe.unread_bytes = 100
    served.timers.pass_s(served.protocol.timeout_keep_alive)
    assert (served.pipe.closed, served.pipe.aborted) == (True, False)
    served.timers.pass_s(STALL_S)
    assert served.pipe.aborted


async def test_a_connection_waits_before_its_headers_and_after_its_answer(served):
    """Only a waiting connection may be closed to make room for another."""
    held = served.connections
    served.released.clear()
    await served.sends(GET)
    assert served.protocol not in held._addresses["192.0.2.1"].waiting
    served.released.set()
    await served.sends(b"")
    assert served.protocol in held._addresses["192.0.2.1"].waiting


async def test_an_upgrade_to_another_protocol_is_not_followed(served):
    """The server answers without an upgrade, and closes the connection."""
    await served.sends(
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nxx"
    )
    assert served.status == b"200"
    assert served.pipe.closed
