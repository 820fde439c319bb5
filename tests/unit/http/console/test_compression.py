"""Compressed answers equal the plain ones, are compressed once, and streams are not buffered."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from streams.http.console import compression
from streams.http.console.compression import FROM_BYTES, Compression

LONG = "long enough to be packed. " * FROM_BYTES


class Packer:
    """Counts compressions."""

    def __init__(self) -> None:
        self.packed: list[bytes] = []

    def compress(self, body: bytes, level: int, *, mtime: int) -> bytes:
        self.packed.append(body)
        return gzip.compress(body, level, mtime=mtime)


@pytest.fixture
def packer(monkeypatch) -> Packer:
    made = Packer()
    monkeypatch.setattr(compression, "gzip", made)
    return made


@pytest.fixture
async def http(packer) -> AsyncIterator[httpx.AsyncClient]:
    async def tagged(request: Request) -> Response:
        name = request.path_params["name"]
        return PlainTextResponse(LONG + name, headers={"ETag": f'W/"{name}"'})

    async def untagged(request: Request) -> Response:
        return PlainTextResponse(LONG)

    async def short(request: Request) -> Response:
        return PlainTextResponse("short", headers={"ETag": 'W/"short"'})

    async def ready(request: Request) -> Response:
        return Response(gzip.compress(LONG.encode()), headers={"Content-Encoding": "gzip"})

    async def stream(request: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            yield b"data: " + LONG.encode() + b"\n\n"
            yield b"data: 2\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    routes = [Route("/tagged/{name}", tagged), Route("/untagged", untagged)]
    routes += [Route("/short", short), Route("/ready", ready), Route("/stream", stream)]
    app = Starlette(routes=routes, middleware=[Middleware(Compression)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        yield client


async def test_the_same_answer_is_compressed_once(http, packer):
    """Compression of a range of eight models takes milliseconds: two hundred of them would stall
    the console.
    """
    answers = await asyncio.gather(*(http.get("/tagged/a") for _ in range(200)))
    assert {answer.text for answer in answers} == {LONG + "a"}
    assert {answer.headers["Content-Encoding"] for answer in answers} == {"gzip"}
    assert {answer.headers["Vary"] for answer in answers} == {"Accept-Encoding"}
    assert len(packer.packed) == 1


async def test_answers_with_different_tags_are_not_confused(http, packer):
    """Answers of two tenants with the same length differ only in their tags."""
    for name in ("a", "b", "a", "b"):
        assert (await http.get(f"/tagged/{name}")).text == LONG + name
    assert len(packer.packed) == 2


async def test_the_compressed_form_of_an_answer_without_a_tag_is_not_cached(http, packer):
    """A page contains a secret of its session, so its compressed form is not cached."""
    for _ in range(2):
        assert (await http.get("/untagged")).text == LONG
    assert len(packer.packed) == 2


@pytest.mark.parametrize("path", ["/short", "/ready", "/stream"])
async def test_short_compressed_and_streamed_answers_pass_unchanged(http, packer, path):
    """Compression would not make them smaller, or would delay events."""
    answer = await http.get(path)
    assert answer.is_success
    assert packer.packed == []


async def test_a_client_without_gzip_gets_a_plain_answer(http, packer):
    """curl without --compressed gets a plain answer."""
    answer = await http.get("/tagged/a", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in answer.headers
    assert answer.text == LONG + "a"
    assert packer.packed == []
