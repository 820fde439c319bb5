"""The server on real local sockets, with misbehaving clients."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from streams.connect.access.connections import Connections
from tests.listening import listening

TIMEOUT_S = 20.0


@asynccontextmanager
async def _answers():
    async def answer(request):
        return PlainTextResponse((await request.body()) or b"ok")

    yield Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])


def _opened(stack: ExitStack, url: str, sent: bytes) -> socket.socket:
    parts = urlsplit(url)
    made = socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S)
    made.sendall(sent)
    return stack.enter_context(made)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["plain", "tls"])
def served(request, authority) -> Iterator[tuple[str, httpx.Client, list[str]]]:
    """The address of a server that accepts ten connections, a client that trusts it, and the
    reasons of its refusals.
    """
    context, trusting = None, ssl.create_default_context()
    if request.param == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(trusting)
    refused: list[str] = []
    bounds = {
        "tls": context,
        "connections": Connections(total_max=10, address_max=0),
        "refused": refused.append,
    }
    with (
        listening(_answers, **bounds) as url,
        httpx.Client(verify=trusting, timeout=TIMEOUT_S, base_url=url) as client,
    ):
        yield url, client, refused


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo", b"\x16\x03\x01"])
def test_idle_and_half_open_connections_block_no_other_client(served, sent):
    """One client opens three times the bound and stays silent; with TLS it does not even complete
    the handshake.
    """
    url, client, refused = served
    with ExitStack() as stack:
        for _ in range(30):
            _opened(stack, url, sent)
        for _ in range(3):
            assert client.get("/", headers={"Connection": "close"}).text == "ok"
    assert set(refused) <= {"crowded", "malformed", "no_handshake"}
    assert refused


def test_a_last_response_ends_without_an_error(served, caplog):
    """uvicorn and this protocol both close the connection; at a second close asyncio's TLS discards
    unsent data, and later calls fail.
    """
    _, client, refused = served
    body = bytes(range(256)) * 8000
    for _ in range(3):
        assert client.post("/", content=body, headers={"Connection": "close"}).content == body
    assert refused == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_bodies_arrive_complete_within_all_bounds(served):
    """Bodies of many reads, with a length and chunked, on one connection."""
    _, client, refused = served
    body = bytes(range(256)) * 8000
    for _ in range(2):
        assert client.post("/", content=body).content == body
        assert client.post("/", content=iter([body[:7], body[7:]])).content == body
    assert refused == []


def test_clients_at_once_are_each_answered(served):
    """As many clients as the server accepts, several requests each."""
    _, client, _ = served
    answers: list[str] = []

    def ask() -> None:
        answers.extend(client.get("/", headers={"Connection": "close"}).text for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert answers == ["ok"] * 25
